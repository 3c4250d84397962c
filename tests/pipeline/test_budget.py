"""What gives way when a request is short of time: as little as can be, and of two the earlier."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline._budget import Budget, Unit, giving_way
from karec.pipeline._usual import Usual


def takes(ms):
    usual = Usual()
    usual.ms = ms
    return usual


def unit(ms, instead=None):
    return Unit("stage.step", (("stage.step", takes(ms)),), None if instead is None else (takes(instead),))


MS = st.integers(0, 20).map(float)
UNITS = st.lists(st.builds(unit, MS, st.none() | MS), min_size=1, max_size=7)


def total(units, giving):
    return sum(each.least_ms if at in giving else each.ms for at, each in enumerate(units))


@given(UNITS, MS)
def test_what_is_left_is_kept_and_nothing_gives_way_that_need_not(units, left):
    giving = giving_way(units, left)
    able = {at for at, each in enumerate(units) if each.substitute is not None}
    assert giving <= able
    if total(units, set()) <= left:
        assert not giving
    elif total(units, able) > left:
        assert giving == able
    else:
        assert total(units, giving) <= left
        assert all(total(units, giving - {at}) > left for at in giving)


def test_of_two_that_would_do_the_earlier_gives_way():
    assert giving_way([unit(3, 0), unit(1), unit(3, 0)], 5) == {0}


def test_a_late_one_that_must_give_way_lets_the_earlier_ones_run():
    assert giving_way([unit(3, 0), unit(12, 0), unit(1, 0)], 5) == {1}


def test_before_each_unit_the_time_is_looked_at_anew():
    now = [0.0]
    budget = Budget(lambda: now[0], 0.010, [unit(4, 1), unit(4, 1)])
    assert budget.short() is None
    budget.done()
    now[0] = 0.007
    short = budget.short()
    assert short is not None and (short.left_ms, short.usual_ms) == (pytest.approx(3.0), 4.0)
    assert str(short) == "no time: 3.0 ms left, usually 4.0"
    assert budget.passed == ["stage.step"]


def test_without_an_end_nothing_gives_way():
    assert Budget(units=[unit(1e9, 0)]).short() is None
    assert Budget().spare_ms(3) is None


def test_what_is_spare_leaves_the_rest_as_little_as_it_can_take():
    budget = Budget(lambda: 0.0, 0.020, [unit(9), unit(4, 1), unit(2)])
    assert [budget.spare_ms(ahead) for ahead in range(4)] == [pytest.approx(ms) for ms in (8, 17, 18, 20)]
    assert all(a <= b for a, b in pairwise([Budget(lambda: 9.0, 0.0, [unit(1)]).spare_ms(0), 0.0]))
