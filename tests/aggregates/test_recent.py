"""Recent counters against the sum of decayed weights, in any order and any partition."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates import recent
from karec.aggregates.recent import HALF_LIFE_MS, HALF_LIVES
from karec.times import DAY_MS, HOUR_MS

START = 1_790_000_000_000
ITEMS = 3
Rows = st.lists(
    st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 100 * DAY_MS), st.integers(0, 3)), max_size=30
)
"""(item, ms after START, bits of two labels)"""


def split(rows):
    items, after, bits = np.array(rows, np.int64).reshape(-1, 3).T
    return items, START + after, np.stack([bits & 1, bits >> 1], axis=1).astype(np.uint8)


def state_of(rows):
    items, times, labels = split(rows)
    return recent.add(recent.empty(ITEMS, 2), items, recent.states_of_events(times, labels))


@given(rows=Rows, half_life=st.sampled_from(HALF_LIVES), after=st.integers(0, 200 * DAY_MS))
def test_value_is_the_sum_of_decayed_weights(rows, half_life, after):
    now = START + max([0, *(row[1] for row in rows)]) + after
    items, times, labels = split(rows)
    halvings = (now - times) / HALF_LIFE_MS[HALF_LIVES.index(half_life)]
    expected = np.zeros((ITEMS, 2))
    np.add.at(expected, items, labels * np.exp2(-halvings)[:, None])
    n_kept = np.zeros((ITEMS, 2))
    np.add.at(n_kept, items, labels * 2.0**-8)  # of events that may be forgotten
    values = recent.read(state_of(rows), half_life, now)
    assert (values <= expected * (1 + 1e-9)).all() and (values >= expected * 0.996 - n_kept).all()


@given(rows=Rows, order=st.randoms(use_true_random=False), cuts=st.lists(st.integers(0, 30), max_size=3))
def test_state_does_not_depend_on_order_or_partitions(rows, order, cuts):
    shuffled = [*rows]
    order.shuffle(shuffled)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [state_of(shuffled[begin:end]) for begin, end in pairwise(bounds)]
    places = np.tile(np.arange(ITEMS), len(parts))
    total = recent.add(recent.empty(ITEMS, 2), places, np.concatenate(parts))
    assert total.tolist() == state_of(rows).tolist()


@given(rows=Rows, times=st.lists(st.integers(0, 300 * DAY_MS), min_size=2, max_size=2))
def test_value_never_grows_without_events(rows, times):
    state = state_of(rows)
    for half_life in HALF_LIVES:
        early, late = (recent.read(state, half_life, START + after) for after in sorted(times))
        assert (late <= early).all()


@pytest.mark.parametrize(("half_life", "weight"), [("hour", 0.5), ("day", 0.97), ("week", 0.996)])
def test_400_likes_of_a_minute_halve_after_the_half_life(half_life, weight):
    state = state_of([(1, second * 150, 1) for second in range(400)])
    values = recent.read(state, half_life, START + 60_000 + HOUR_MS)
    np.testing.assert_allclose(values, [[0, 0], [400 * weight, 0], [0, 0]], rtol=0.02)
