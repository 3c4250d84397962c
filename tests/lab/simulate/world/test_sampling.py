"""Weighted sampling: rows of the group, below the limit, as often as the weights say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.lab.simulate.world.sampling import PrefixSampler, weighted_rows, zipf_weights


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_draw_is_a_row_of_the_group_below_the_limit(groups: list[int], data: st.DataObject) -> None:
    limit = data.draw(st.integers(0, len(groups)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    sampler = PrefixSampler(np.array(groups), rng.random(len(groups)) + 0.01, 4)
    for group in range(4):
        allowed = [row for row in range(limit) if groups[row] == group]
        rows = sampler.draw(np.full(20, group), np.full(20, limit), rng).tolist()
        assert set(rows) <= set(allowed) if allowed else set(rows) == {-1}


def test_rows_are_drawn_in_proportion_to_their_weight() -> None:
    rng = np.random.default_rng(0)
    groups, weights = np.array([0, 1, 0, 0, 1]), np.array([1.0, 5.0, 3.0, 100.0, 7.0])
    rows = PrefixSampler(groups, weights, 2).draw(np.zeros(40_000, np.int64), np.full(40_000, 3), rng)
    np.testing.assert_allclose(np.bincount(rows, minlength=5) / 40_000, [0.25, 0, 0.75, 0, 0], atol=0.01)
    rows = weighted_rows(np.array([2.0, 0.0, 6.0]), 40_000, rng)
    np.testing.assert_allclose(np.bincount(rows, minlength=3) / 40_000, [0.25, 0, 0.75], atol=0.01)


def test_zipf_weights_fall_as_a_power_of_the_rank() -> None:
    weights = zipf_weights(100, 1.0, shift=1.0)
    assert np.isclose(weights.sum(), 1.0)
    np.testing.assert_allclose(weights[0] / weights, np.arange(1, 101))
