"""Items that the session was shown are dropped."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline.types import Candidates, Request
from karec.steps.filters.not_shown import NotShown

works = st.lists(st.integers(0, 40), max_size=12, unique=True)


@given(works, works)
def test_not_shown_drops_shown_items(result, shown):
    keep = NotShown().keep(Request(user_id=1, shown=tuple(shown)), Candidates.from_ids(result))
    assert keep.dtype == np.bool_ and keep.tolist() == [work not in shown for work in result]


def test_not_shown_compares_ids_above_2_to_the_53_exactly():
    """2⁶² and 2⁶² + 1 are one float64."""
    keep = NotShown().keep(
        Request(user_id=1, shown=(2**62,)), Candidates.from_ids(np.array([2**62, 2**62 + 1]))
    )
    assert keep.tolist() == [False, True]
