"""Tests of AUC, GAUC, ECE and their intervals against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval, ece, gauc, user_days
from karec.times import DAY_MS

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=60)


def plain_auc(y, s):
    pairs = [(a > b) + 0.5 * (a == b) for a in s[y == 1] for b in s[y == 0]]
    return float(np.mean(pairs)) if pairs else float("nan")


def plain_gauc(y, s, group):
    parts = [(plain_auc(y[group == g], s[group == g]), (group == g).sum()) for g in np.unique(group)]
    parts = [(value, n) for value, n in parts if not np.isnan(value)]
    return sum(value * n for value, n in parts) / sum(n for _, n in parts) if parts else float("nan")


def plain_ece(y, p, bins):
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(y)) if min(int(p[i] * bins), bins - 1) == b]
        if inside:
            total += len(inside) * abs(np.mean(y[inside]) - np.mean(p[inside]))
    return total / len(y)


def arrays(sample):
    return (np.array(column) for column in zip(*sample, strict=True))


@given(rows)
def test_auc_is_the_fraction_of_ordered_pairs_ties_one_half(sample):
    y, s, _ = arrays(sample)
    assert auc(y, s) == pytest.approx(plain_auc(y, s), nan_ok=True)


@given(rows)
def test_auc_weights_equal_repeated_rows(sample):
    y, s, w = arrays(sample)
    assert auc(y, s, w) == pytest.approx(plain_auc(np.repeat(y, w), np.repeat(s, w)), nan_ok=True)


@given(rows)
def test_gauc_is_the_row_weighted_mean_of_group_aucs(sample):
    y, s, group = arrays(sample)
    assert gauc(y, s, group) == pytest.approx(plain_gauc(y, s, group), nan_ok=True)


@given(rows)
def test_ece_is_the_weighted_gap_of_bins(sample):
    y, s, _ = arrays(sample)
    assert ece(y, s / 5) == pytest.approx(plain_ece(y, s / 5, 15))


def test_bootstrap_equals_measures_on_rows_of_sampled_users():
    generator = np.random.default_rng(5)
    users = generator.integers(100, 112, 300)
    y, p, day = generator.integers(0, 2, 300), generator.random(300).round(1), generator.integers(0, 2, 300)
    group = users * 2 + day
    bootstrap = UserBootstrap(users, resamples=4, seed=9)
    results = bootstrap.auc(y, p), bootstrap.gauc(y, p, group), bootstrap.ece(y, p), bootstrap.mean(p)
    draws = np.random.default_rng(9)
    ids = np.unique(users)
    for resample in range(4):
        sample = ids[draws.integers(len(ids), size=len(ids))]
        sampled_rows = np.concatenate([np.flatnonzero(users == user) for user in sample])
        copies = np.concatenate([np.full((users == user).sum(), copy) for copy, user in enumerate(sample)])
        expected = (
            plain_auc(y[sampled_rows], p[sampled_rows]),
            plain_gauc(y[sampled_rows], p[sampled_rows], group[sampled_rows] * 1000 + copies),
            plain_ece(y[sampled_rows], p[sampled_rows], 15),
            p[sampled_rows].mean(),
        )
        assert [values[resample] for values in results] == pytest.approx(expected)


def test_paired_difference_has_a_narrower_interval():
    generator = np.random.default_rng(0)
    users = generator.integers(0, 200, 4000)
    y = generator.integers(0, 2, 4000)
    good = y + generator.normal(size=4000)
    worse = good + generator.normal(size=4000)
    bootstrap = UserBootstrap(users, 100)
    low, high = bootstrap_interval(bootstrap.auc(y, good) - bootstrap.auc(y, worse))
    one_low, one_high = bootstrap_interval(bootstrap.auc(y, good))
    assert 0 < low < auc(y, good) - auc(y, worse) < high
    assert high - low < one_high - one_low


def test_user_days_distinguish_users_and_days():
    day = DAY_MS
    groups = user_days(np.array([7, 7, 9, 7]), np.array([50, day + 49, 60, day + 50]), start_ms=50)
    assert groups[0] == groups[1] and len({*groups[[0, 2, 3]]}) == 3


def test_accuracy_refuses_wrong_shapes_nan_and_no_resamples():
    with pytest.raises(ValueError, match=r"\(3,\) and scores \(2,\)"):
        auc(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"scores\[1\] is nan"):
        auc(np.zeros(3), np.array([0.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="groups"):
        gauc(np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="resamples"):
        UserBootstrap(np.zeros(3), 0)
