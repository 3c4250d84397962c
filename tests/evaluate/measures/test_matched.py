"""Regression within matched sets and over rows: what is found is what was planted, and set intercepts do not
matter."""

import numpy as np
import pytest

from karec.evaluate.measures.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.measures.logistic import fit_logistic
from karec.evaluate.measures.matched import PIECE, fit_matched, pairs_of


def drawn(y_of, n_sets=400, size=8, seed=0):
    """Rows of ``n_sets`` users, each a set of its own: (y, x (N, 2), set of each row)."""
    generator = np.random.default_rng(seed)
    of = np.repeat(np.arange(n_sets), size)
    x = generator.normal(size=(len(of), 2))
    return (generator.random(len(of)) < 1 / (1 + np.exp(-y_of(x, of)))).astype(np.uint8), x, of


def test_pairs_are_all_of_a_positive_and_a_negative_of_one_set_among_the_rows_asked_for():
    y, _, of = drawn(lambda x, of: x[:, 0], n_sets=20)
    of = of[np.random.default_rng(3).permutation(len(of))]
    rows = np.flatnonzero(np.arange(len(y)) % 3 > 0)
    pairs = pairs_of(y, of, rows)
    expected = {(a, b) for a in rows for b in rows if of[a] == of[b] and y[a] > y[b]}
    assert len(pairs.positive) == len(expected)
    assert set(zip(pairs.positive.tolist(), pairs.negative.tolist(), strict=True)) == expected
    assert pairs.rows.tolist() == sorted({row for pair in expected for row in pair})
    sizes = np.bincount(of[rows])
    np.testing.assert_allclose(pairs.weight, 1 / sizes[of[pairs.positive]])


def test_rows_of_a_large_set_are_compared_within_pieces():
    y = np.tile([0, 1], 5 * PIECE).astype(np.uint8)
    pairs = pairs_of(y, np.zeros(len(y), np.int64), np.arange(len(y)))
    np.testing.assert_array_equal(pairs.positive // PIECE, pairs.negative // PIECE)
    assert len(pairs.weight) == 10 * (PIECE // 2) ** 2


def test_of_sets_of_two_the_coefficient_is_the_log_ratio_of_discordant_pairs():
    # which row of a pair the positive is: the one with the column, or without
    changed = np.array([1] * 30 + [0] * 12)
    y = np.stack([changed, 1 - changed], axis=1).ravel()
    column = np.tile([1.0, 0.0], len(changed))
    of = np.repeat(np.arange(len(changed)), 2)
    beta, draws = fit_matched(pairs_of(y, of, np.arange(len(y))), [column], UserBootstrap(of, 400))
    assert beta[0] == pytest.approx(np.log(30 / 12), abs=1e-4)
    assert draws.std() == pytest.approx(np.sqrt(1 / 30 + 1 / 12), rel=0.15)


def test_what_is_planted_is_found_whatever_the_sets_own_rates():
    rates = np.random.default_rng(1).normal(scale=2.0, size=400)
    y, x, of = drawn(lambda x, of: 0.5 * x[:, 0] - 1.0 * x[:, 1] + rates[of])
    beta, draws = fit_matched(pairs_of(y, of, np.arange(len(y))), [x[:, 0], x[:, 1]], UserBootstrap(of, 300))
    for at, planted in enumerate((0.5, -1.0)):
        low, high = bootstrap_interval(draws[:, at])
        assert low < planted < high and low < beta[at] < high and high - low < 0.5


def test_a_column_that_does_not_vary_within_sets_has_coefficient_zero_and_sets_of_one_class_say_nothing():
    y, x, of = drawn(lambda x, of: x[:, 0])
    own = np.random.default_rng(2).normal(size=400)[of]
    bootstrap = UserBootstrap(of, 20)
    beta, _ = fit_matched(pairs_of(y, of, np.arange(len(y))), [x[:, 0], own], bootstrap)
    assert abs(beta[1]) < 1e-9
    with pytest.raises(ValueError, match="no set has both"):
        fit_matched(pairs_of(np.ones_like(y), of, np.arange(len(y))), [x[:, 0]], bootstrap)


def test_over_rows_the_log_odds_ratio_of_one_column_is_that_of_its_table():
    y = np.repeat([1, 0, 1, 0], [40, 60, 25, 90]).astype(np.uint8)
    column = np.repeat([1.0, 1.0, 0.0, 0.0], [40, 60, 25, 90])
    beta, draws = fit_logistic(y, np.arange(len(y)), [column], UserBootstrap(np.arange(len(y)), 500))
    assert beta[0] == pytest.approx(np.log(40 / 60 / (25 / 90)), abs=1e-4)
    assert draws.std() == pytest.approx(np.sqrt(1 / 40 + 1 / 60 + 1 / 25 + 1 / 90), rel=0.15)


def test_sums_of_drawn_users_are_those_of_their_rows_as_often_as_they_were_drawn():
    users = np.array([5, 5, 9, 9, 9, 7])
    bootstrap = UserBootstrap(users, 50)
    of_five, of_nine, of_seven = bootstrap.sums([(users == user) * 1.0 for user in (5, 9, 7)], np.arange(6)).T
    np.testing.assert_array_equal(of_five / 2 + of_nine / 3 + of_seven, 3)  # three users are drawn each time
    values = np.arange(6.0)
    expected = bootstrap.mean(values) * (of_five + of_nine + of_seven)
    np.testing.assert_allclose(bootstrap.sums([values], np.arange(6))[:, 0], expected, rtol=1e-6)
