"""Tests that co-watch vectors are the leading singular vectors of a moment, and which items have none."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.learn.fit import als as als_settings
from karec.learn.fit.als import MIN_WATCHERS, SETTINGS
from karec.learn.fit.cowatch import MIN_DIMENSIONS, fit_cowatch

N_CIRCLES = MIN_DIMENSIONS  # as many directions as are kept, each stronger than random ones


@pytest.fixture(scope="module")
def circles():
    """(user groups, item groups): group of each row; 8 groups of 10 to 60 users and 3 to 12 items."""
    generator = np.random.default_rng(3)
    sizes = np.geomspace(10, 60, N_CIRCLES).astype(int), np.linspace(3, 12, N_CIRCLES).astype(int)
    return tuple(np.repeat(np.arange(N_CIRCLES), generator.permutation(size)) for size in sizes)


@pytest.fixture(scope="module")
def watched(circles):
    """(users, items) int: watch counts; nearly all items of the own group, a few of the next group.

    The last but one item has just enough watchers, the last one too few, although each of them watched it
    twice.
    """
    generator = np.random.default_rng(4)
    user_groups, item_groups = circles
    ahead = (item_groups - user_groups[:, None]) % N_CIRCLES
    chance = np.select([ahead == 0, ahead == 1], [0.9, 0.2])
    times = (generator.random(chance.shape) < chance) * generator.integers(1, 4, chance.shape)
    rare = np.arange(len(user_groups))[:, None] < [MIN_WATCHERS, MIN_WATCHERS - 1]
    return np.concatenate([times, rare * [1, 2]], axis=1)


@pytest.fixture(scope="module")
def snapshot(watched):
    n_users, n = watched.shape
    works = Table(
        np.arange(n) * 3 + 50,
        {name: np.arange(n) % 5 for name in ("creator_id", "song_id", "type", "tag")}
        | {"upload_ms": np.zeros(n, int)},
    )
    user, work = np.divmod(np.repeat(np.arange(watched.size), watched.ravel()), n)
    history = Relation.from_pairs(user, works.ids[work], n_users)
    return Snapshot(
        0, works, Table(np.arange(n_users), {}), {"history": history}, {}, meaning=Meaning(("watch",))
    )


def without_exposures(snapshot):
    """A dataset whose only events are the histories of the snapshot."""
    none = np.empty(0, np.int64)
    return Dataset(
        "histories", snapshot, Impressions(none, none, none, none, {"watch": none}), 100, 200, ("watch",)
    )


def watched_at(snapshot, hours):
    """A dataset whose events are those histories, each user's at one of ``hours``."""
    history = snapshot.relations["history"]
    users = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    time_ms = np.asarray(hours)[users % len(hours)]
    order = np.argsort(time_ms, kind="stable")
    exposures = Impressions(
        users[order],
        history.values[order],
        time_ms[order],
        np.zeros_like(users),
        {"watch": np.ones_like(users)},
    )
    return Dataset("watched", replace(snapshot, relations={}), exposures, 100, 200, ("watch",))


@pytest.fixture(scope="module")
def cowatch(snapshot):
    return fit_cowatch(without_exposures(snapshot), seed=1)


def test_cowatch_vectors_are_the_leading_singular_vectors(snapshot, watched, cowatch):
    """The matrix has 1 for each watched item, however often, normalized by the degrees of user and item."""
    enough = (watched > 0).sum(axis=0) >= MIN_WATCHERS
    b = (watched[:, enough] > 0).astype(float)
    user_degrees, item_degrees = b.sum(axis=1, keepdims=True), b.sum(axis=0)
    # the normalization must matter
    assert user_degrees.max() > 5 * user_degrees.min() and item_degrees.max() > 5 * item_degrees.min()
    _, spread, v = np.linalg.svd(b / np.sqrt(user_degrees * item_degrees), full_matrices=False)
    # the leading directions must be separate from the rest
    assert spread[MIN_DIMENSIONS] < 0.7 * spread[MIN_DIMENSIONS - 1]
    exact = v[:MIN_DIMENSIONS].T
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    codes = cowatch.codes(snapshot.works.ids[enough])
    assert cowatch.vectors.shape == (len(codes) + 1, MIN_DIMENSIONS)
    kept_vectors = cowatch.vectors[codes].astype(np.float64)
    np.testing.assert_allclose(kept_vectors @ kept_vectors.T, exact @ exact.T, rtol=0, atol=1e-3)


def test_als_factors_minimise_the_weighted_squared_error(snapshot, watched, cowatch):
    """At the best factors of users, the item factors are within 2 % of the best ones."""
    codes = cowatch.codes(snapshot.works.ids)
    b = (watched > 0)[:, codes > 0].astype(float)
    y, gram = cowatch.als.vectors[0, codes[codes > 0]].astype(float), cowatch.als.grams[0]
    identity = np.eye(y.shape[1])
    _, weight, penalty = SETTINGS[0]  # all is history: nothing is later, to choose by
    np.testing.assert_allclose(gram * weight, y.T @ y + penalty * identity, rtol=1e-4, atol=1e-4)

    def best(other, wanted):
        """Returns the exact half step."""
        weighted = [other.T @ (other * (1 + weight * row)[:, None]) for row in wanted]
        return np.stack(
            [
                np.linalg.solve(left + penalty * identity, (1 + weight) * row @ other)
                for left, row in zip(weighted, wanted, strict=True)
            ]
        )

    x = best(y, b)
    exact = best(x, b.T)
    assert np.linalg.norm(y - exact) < 0.02 * np.linalg.norm(exact)


def test_item_with_few_watchers_has_no_cowatch_vector(snapshot, cowatch):
    just_enough, rare = snapshot.works.ids[-2:]
    assert cowatch.codes(np.array([just_enough, rare])).tolist() == [len(cowatch.works), 0]
    assert cowatch.codes(np.array([-1, 10**12])).tolist() == [0, 0]
    assert not cowatch.vectors[0].any()


def test_fit_cowatch_is_reproducible_and_keeps_global_random_state(snapshot, cowatch):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    repeated = fit_cowatch(without_exposures(snapshot), seed=1)
    np.testing.assert_array_equal(repeated.vectors, cowatch.vectors)
    np.testing.assert_array_equal(torch.rand(3).numpy(), expected.numpy())


def test_fit_cowatch_returns_none_if_histories_are_small(snapshot):
    """No history, or at most as many items as a vector has dimensions."""

    def watched_by_enough(n_works):
        user, work = np.divmod(np.arange(MIN_WATCHERS * n_works), n_works)
        history = Relation.from_pairs(user, snapshot.works.ids[work], len(snapshot.users))
        return without_exposures(replace(snapshot, relations={"history": history}))

    assert fit_cowatch(without_exposures(replace(snapshot, relations={}))) is None
    assert fit_cowatch(watched_by_enough(MIN_DIMENSIONS)) is None
    assert len(fit_cowatch(watched_by_enough(MIN_DIMENSIONS + 1)).works) == MIN_DIMENSIONS + 1


def test_cowatch_vectors_of_a_moment_are_those_of_the_events_before_it(snapshot, monkeypatch):
    monkeypatch.setattr(als_settings, "SETTINGS", SETTINGS[:1])  # each of the fits would choose its own
    whole = watched_at(snapshot, [10, 30, 60, 99, 100, 150])
    result = fit_cowatch(whole, seed=1)
    assert result.times_ms.tolist() == [0, 25, 50, 75, 100]
    ids = snapshot.works.ids
    for moment in (25, 50, 75, 100):
        exposures = whole.exposures.take(whole.exposures.time_ms < moment)
        alone = fit_cowatch(replace(whole, exposures=exposures, train_until_ms=moment), seed=1)
        rows = result.rows_before(result.codes(ids), np.full(len(ids), moment + 3))
        expected = alone.vectors[np.where(rows > 0, alone.codes(ids), 0)]
        np.testing.assert_array_equal(result.all_vectors[rows], expected)
        factors = alone.als.vectors[0][np.where(rows > 0, alone.codes(ids), 0)]
        np.testing.assert_array_equal(result.als.tables[0][rows], factors)
        assert (rows > 0).sum() == (alone.codes(ids) > 0).sum() > MIN_DIMENSIONS
    assert not result.rows_before(result.codes(ids), np.full(len(ids), 24)).any()  # no event before 0
