"""Random cascades lose, add and duplicate no item between steps (a longer run: make fuzz-cascades)."""

from hypothesis import given
from hypothesis import strategies as st
from random_cascades import check


@given(st.integers(0, 10**9))
def test_random_cascade_loses_adds_and_duplicates_no_item(seed):
    check(seed)
