"""No work is lost, invented or duplicated between steps, whatever the cascade (a longer run: make
fuzz-cascades)."""

from hypothesis import given
from hypothesis import strategies as st
from random_cascades import check


@given(st.integers(0, 10**9))
def test_no_work_is_lost_invented_or_duplicated(seed):
    check(seed)
