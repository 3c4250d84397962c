"""The k best candidates by score, ties by position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline.types import Candidates, Request
from karec.steps.selectors.top_k import TopK


@given(st.lists(st.sampled_from([-2.0, 0.0, 1.0]), max_size=200), st.integers(1, 250), st.booleans())
def test_top_k_returns_the_best_k_ties_by_position(scores, k, own):
    candidates = Candidates.from_ids(np.arange(len(scores)) + 1000, np.array(scores, np.float32))
    selection = (TopK(k) if own else TopK()).select(Request(1, k=1 if own else k), candidates)
    expected = sorted(range(len(scores)), key=lambda at: (-scores[at], at))[:k]
    assert selection.indices.tolist() == expected
    assert selection.scores is None and selection.notes == {}, "scores stay, there is nothing to note"


def test_top_k_takes_the_first_of_500_equal_scores():
    """Unstable sorts reorder ties above 16 entries, and hypothesis seldom draws such lists."""
    candidates = Candidates.from_ids(np.arange(500), np.repeat(np.float32([1, 2]), 250))
    assert TopK(300).select(Request(1), candidates).indices.tolist() == [*range(250, 500), *range(50)]


@pytest.mark.parametrize("k", [0, -1])
def test_top_k_rejects_k_0(k):
    with pytest.raises(ValueError, match=f"^k must be positive, got {k}$"):
        TopK(k)
    assert TopK(1).k == 1 and TopK().k is None
