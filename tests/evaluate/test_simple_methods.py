"""Tests of the simple methods against float64 formulas on small logs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate import als
from karec.evaluate.past_log import MAX_PROFILE, PastLog
from karec.evaluate.simple_methods import (
    METHODS,
    fit_attribute_rates,
    fit_ease,
    fit_item_knn,
    fit_popularity,
    sparse_regressions,
)
from karec.times import DAY_MS

END = 100 * DAY_MS


def make_log(n_events=120, n_users=9, n_items=7, seed=0, *, has_impressions=True):
    generator = np.random.default_rng(seed)
    is_positive = generator.random(n_events) < 0.4 if has_impressions else np.ones(n_events, bool)
    return PastLog(
        user=generator.integers(0, n_users, n_events),
        item=generator.integers(0, n_items, n_events),
        event_ms=np.sort(generator.integers(0, END, n_events)),
        is_positive=is_positive,
        has_impressions=has_impressions,
        categories={"tag": np.arange(n_items) % 3 - 1},
        shape=(n_users, n_items),
        time_ms=END,
    )


def dense(log):
    """Returns (users, items) float64: 1 for enjoyed items."""
    matrix = np.zeros(log.shape)
    matrix[log.user[log.is_positive], log.item[log.is_positive]] = 1.0
    return matrix


def every_user(log):
    return np.arange(log.shape[0])


def test_popularity_is_the_smoothed_rate_of_items():
    log = make_log()
    taken, shown = (np.bincount(log.item[rows], minlength=7) for rows in (log.is_positive, slice(None)))
    expected = (taken + 20 * taken.sum() / shown.sum()) / (shown + 20)
    np.testing.assert_allclose(fit_popularity(log)(np.array([0, 3])), [expected, expected], rtol=1e-6)


def test_recent_popularity_counts_positives_of_the_last_days():
    log = make_log(has_impressions=False)
    recent = log.item[log.event_ms >= END - 30 * DAY_MS]
    scores = fit_popularity(log, days=30)(np.array([0]))[0]
    np.testing.assert_array_equal(np.floor(scores), np.bincount(recent, minlength=7))


def test_attribute_rates_multiply_user_lift_and_item_rate():
    log = make_log()
    popularity = fit_popularity(log)(np.array([0]))[0].astype(np.float64)
    tags = log.categories["tag"]
    event_tag, scores = tags[log.item], fit_attribute_rates(log, "tag")(every_user(log))
    for user in range(9):
        for item in range(7):
            in_tag, own = event_tag == tags[item], log.user == user
            mean = log.is_positive[in_tag].mean()
            rate = (log.is_positive[in_tag & own].sum() + 8 * mean) / ((in_tag & own).sum() + 8)
            factor = 1.0 if tags[item] < 0 else rate / mean
            assert scores[user, item] == pytest.approx(factor * popularity[item], rel=1e-5)


@given(st.integers(0, 60), st.integers(0, 10_000))
def test_item_knn_sums_similarities_to_the_items_of_the_user(n_events, seed):
    log = make_log(n_events, seed=seed)
    matrix = dense(log)
    n = matrix.sum(axis=0)
    similarity = (matrix.T @ matrix) / (np.sqrt(np.outer(n, n)) + 5.0)
    np.fill_diagonal(similarity, 0.0)
    scores = fit_item_knn(log, neighbours=7, shrinkage=5.0)(every_user(log))
    np.testing.assert_allclose(scores, matrix @ similarity, atol=1e-5)


def test_item_knn_keeps_the_nearest_items_of_an_item():
    user, item = np.array([0, 0, 1, 1, 2, 2, 3, 4]), np.array([0, 1, 0, 1, 0, 2, 1, 2])
    log = PastLog(user, item, np.arange(8), np.ones(8, bool), False, {}, (5, 3), END)
    scores = fit_item_knn(log, neighbours=1, shrinkage=0.0)(np.array([3, 4]))
    np.testing.assert_allclose(scores, [[2 / 3, 0, 0], [0, 0, 0]], atol=1e-5)


def test_ease_solves_the_regressions_of_each_item():
    log = make_log(400, n_users=60)
    matrix = dense(log)
    gram = matrix.T @ matrix + 3.0 * np.eye(7)
    weights = np.zeros((7, 7))
    for item in range(7):
        others = np.flatnonzero(np.arange(7) != item)
        weights[others, item] = np.linalg.solve(gram[np.ix_(others, others)], gram[others, item])
    np.testing.assert_allclose(fit_ease(log, 3.0)(every_user(log)), matrix @ weights, atol=1e-4)
    np.testing.assert_allclose(sparse_regressions(log.profiles, 3.0).toarray(), weights, atol=1e-4)


def test_als_alternates_weighted_least_squares(monkeypatch):
    log = make_log(90, n_users=12)
    matrix, factors, weight, penalty = dense(log), 3, 4.0, 0.5  # three conjugate gradients are exact then
    generator = np.random.default_rng(0)
    users, items = (generator.normal(0, 0.1 / np.sqrt(factors), (n, factors)) for n in log.shape)

    def solve(ones, other):
        confidence = 1.0 + weight * ones
        return np.stack(
            [
                np.linalg.solve((other.T * c) @ other + penalty * np.eye(factors), (other.T * c) @ p)
                for c, p in zip(confidence, ones, strict=True)
            ]
        )

    for _ in range(2):
        users = solve(matrix, items)
        items = solve(matrix.T, users)
    monkeypatch.setattr(als, "ITERATIONS", 2)
    x, y = als.factorize(log.profiles, factors, weight, penalty)
    scores = x @ y.T
    np.testing.assert_allclose(scores, users @ items.T, atol=1e-3)


@pytest.mark.parametrize("name", ["item-kNN", "EASE^R", "ALS"])
def test_user_without_positives_gets_popular_items(name):
    log = make_log(n_users=10, n_events=200)
    is_known = log.user != 9
    log = PastLog(
        *(getattr(log, field)[is_known] for field in ("user", "item", "event_ms", "is_positive")),
        log.has_impressions,
        log.categories,
        log.shape,
        END,
    )
    scores = METHODS[name].fit(log, **METHODS[name].grid(log)[0])(np.array([9]))[0]
    np.testing.assert_array_equal(np.argsort(-scores), np.argsort(-fit_popularity(log)(np.array([9]))[0]))


def test_profile_has_the_newest_positives_of_a_user():
    n = MAX_PROFILE + 50
    log = PastLog(np.zeros(n, int), np.arange(n), np.arange(n), np.ones(n, bool), False, {}, (2, n), n)
    assert log.profiles.indices.min() == 50 and log.profiles.sum() == MAX_PROFILE
