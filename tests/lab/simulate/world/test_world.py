"""The synthetic platform: deterministic, plausible, in time order, and consistent with its truth."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from karec.catalog.dataset import Dataset
from karec.lab.simulate.world import World, make_world
from karec.lab.simulate.world.platform import START_MS
from karec.lab.simulate.world.tastes import PARENT_TASKS, TASK_RATES, TASKS
from karec.pipeline.types import Array
from karec.times import DAY_MS

SIZES = (10_000, 3_000, 100_000)


def fingerprint(world: World) -> str:
    """Returns a hash of all arrays of the dataset, and of the true probabilities of its impressions."""
    s, e = world.dataset.snapshot, world.dataset.exposures
    arrays = [
        s.works.ids,
        s.users.ids,
        e.user_id,
        e.work_id,
        e.time_ms,
        e.scene,
        e.play_ms,
        *e.labels.values(),
    ]
    arrays += [table[name] for table in (s.works, s.users) for name in sorted(table.columns)]
    arrays += [
        part for r in s.relations.values() for part in (r.indptr, r.values, r.times) if part is not None
    ]
    user, work = s.users.lookup(e.user_id), s.works.lookup(e.work_id)
    arrays += list(world.truth.probabilities(user, work, time_ms=e.time_ms, scene=e.scene).values())
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def auc(label: Array, score: Array) -> float:
    """Returns the fraction of pairs in which the positive scores higher; a tie counts one half."""
    negative = np.sort(score[label == 0])
    positive = score[label == 1]
    below, not_above = (np.searchsorted(negative, positive, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(negative))


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(*SIZES, seed=7)


@pytest.fixture(scope="module")
def dataset(world: World) -> Dataset:
    return world.dataset


@pytest.fixture(scope="module")
def rows(dataset: Dataset) -> tuple[Array, Array]:
    """(user rows, work rows) of the exposures."""
    s, e = dataset.snapshot, dataset.exposures
    return s.users.lookup(e.user_id), s.works.lookup(e.work_id)


def test_world_is_equal_for_the_same_seed(world: World) -> None:
    assert fingerprint(make_world(*SIZES, seed=7)) == fingerprint(world)
    assert fingerprint(make_world(*SIZES, seed=8)) != fingerprint(world)


def test_world_does_not_depend_on_the_number_of_threads() -> None:
    code = (
        "import runpy, sys; module = runpy.run_path(sys.argv[1]);"
        "print(module['fingerprint'](module['make_world'](2000, 500, 5000, seed=3)))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code, __file__],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    ]
    assert outputs[0] == outputs[1] != ""


def test_snapshot_has_the_documented_columns_and_dtypes(dataset: Dataset) -> None:
    s, e = dataset.snapshot, dataset.exposures
    assert (len(s.works), len(s.users), len(e)) == SIZES
    assert all(
        column.dtype in (np.int32, np.int64, np.float32)
        for t in (s.works, s.users)
        for column in t.columns.values()
    )
    assert all(np.isfinite(column).all() for t in (s.works, s.users) for column in t.columns.values())
    for table in (s.works, s.users):
        for name in set(table.columns) & set(s.labels):
            assert table[name].min() >= 0 and table[name].max() < len(s.labels[name]), name
    assert set(s.relations) == {"history", "skipped", "liked", "follows", "friends"}
    for name, ids in (
        ("history", s.works.ids),
        ("liked", s.works.ids),
        ("follows", s.users.ids),
        ("friends", s.users.ids),
    ):
        assert np.isin(s.relations[name].values, ids).all(), name
    assert np.isin(s.works["creator_id"], s.users.ids).all()
    assert {label.dtype for label in e.labels.values()} == {np.dtype(np.uint8)}
    assert dataset.tasks == ("click", "long_view", "like")
    assert s.labels["type"] == ["audio", "video"]


def test_label_rates_are_as_configured(dataset: Dataset) -> None:
    for task, rate in TASK_RATES.items():
        spread = 5 * np.sqrt(rate / len(dataset.exposures)) + 0.01 * rate
        assert abs(dataset.exposures.labels[task].mean() - rate) < spread, task


def test_impressions_are_in_time_order_after_the_upload(dataset: Dataset, rows: tuple[Array, Array]) -> None:
    s, e = dataset.snapshot, dataset.exposures
    assert (np.diff(e.time_ms) >= 0).all()
    assert e.time_ms[0] >= s.time_ms == START_MS
    assert (s.works["upload_ms"][rows[1]] <= e.time_ms).all()
    assert (np.diff(s.works["upload_ms"]) >= 0).all()
    assert (s.works["creator_id"][rows[1]] != e.user_id).all()
    for name in ("history", "skipped", "liked", "follows"):
        times = s.relations[name].times
        assert times is not None and (times < s.time_ms).all()


def test_no_work_is_shown_twice_to_a_user(rows: tuple[Array, Array]) -> None:
    assert len(np.unique(rows[0] * SIZES[0] + rows[1])) == SIZES[2]


def test_split_has_the_last_two_days_as_test(dataset: Dataset) -> None:
    assert dataset.train_until_ms == START_MS + 10 * DAY_MS
    assert dataset.valid_until_ms == START_MS + 12 * DAY_MS
    assert dataset.exposures.time_ms[-1] < START_MS + 14 * DAY_MS
    assert all(len(part) > 0.1 * len(dataset.exposures) for part in dataset.split())


def test_feedback_is_a_funnel_consistent_with_play_time(world: World, rows: tuple[Array, Array]) -> None:
    e = world.dataset.exposures
    for task, parent in PARENT_TASKS.items():
        assert parent is None or (e.labels[task] <= e.labels[parent]).all(), task
    duration = world.truth.works.duration_ms[rows[1]]
    assert ((e.play_ms >= 0) & (e.play_ms <= duration)).all()
    assert ((e.play_ms == duration) == (e.labels["finish"] == 1)).all()
    long_enough = e.play_ms >= np.floor(0.7 * duration)
    assert (long_enough == (e.labels["long_view"] == 1)).all()


def test_popularity_has_heavy_tails(world: World, rows: tuple[Array, Array]) -> None:
    for counts in (
        np.bincount(world.truth.works.creator),
        np.bincount(world.truth.works.song),
        np.bincount(rows[0]),
        np.bincount(rows[1]),
    ):
        top = np.sort(counts)[::-1]
        assert top[: len(top) // 10].sum() > 0.25 * top.sum()


def test_newcomers_have_no_past_but_friends(world: World, rows: tuple[Array, Array]) -> None:
    snapshot, people = world.dataset.snapshot, world.truth.people
    newcomers = np.flatnonzero(people.register_days < 60)
    assert len(newcomers) == SIZES[1] // 4
    assert not np.isin(world.truth.works.creator, newcomers).any()
    assert not np.isin(world.truth.follow_keys // SIZES[1], newcomers).any()
    assert np.isin(world.truth.friend_keys // SIZES[1], newcomers).any()
    later = newcomers[people.register_days[newcomers] < 0]
    joined_ms = START_MS - (DAY_MS * people.register_days[later]).astype(np.int64)
    first_ms = np.full(SIZES[1], np.iinfo(np.int64).max)
    np.minimum.at(first_ms, rows[0], world.dataset.exposures.time_ms)
    np.testing.assert_array_equal(first_ms[later], joined_ms)
    assert not snapshot.users["count_exposed"][later].any()
    assert not snapshot.users["log_register_days"][later].any()


def test_test_days_have_known_sparse_and_new_users() -> None:
    world = make_world(20_000, 1_500, 200_000)
    snapshot, exposures = world.dataset.snapshot, world.dataset.exposures
    user, test = snapshot.users.lookup(exposures.user_id), exposures.time_ms >= world.dataset.valid_until_ms
    n_before = snapshot.users["count_exposed"] + np.bincount(user[~test], minlength=1_500)
    n_total = snapshot.users["count_exposed"] + np.bincount(user, minlength=1_500)
    assert 80 < np.median(n_total) < 150
    n_known = n_before[user[test]]
    for low, high in ((0, 0), (1, 10), (11, 50), (51, np.inf)):
        assert ((n_known >= low) & (n_known <= high)).sum() > 300, (low, high)
    assert 1 < np.quantile(n_total, 0.05) < 10


def test_friends_are_mutual_and_not_oneself(dataset: Dataset) -> None:
    s = dataset.snapshot
    for name in ("friends", "follows"):
        relation = s.relations[name]
        user = np.repeat(s.users.ids, np.diff(relation.indptr))
        pairs = set(zip(user.tolist(), relation.values.tolist(), strict=True))
        assert len(pairs) == len(user)
        assert all(a != b for a, b in pairs)
        if name == "friends":
            assert pairs == {(b, a) for a, b in pairs}


def test_scene_counters_sum_to_the_user_counters(dataset: Dataset) -> None:
    s = dataset.snapshot
    assert s.user_scene_counters is not None
    for name in ("count_exposed", *(f"count_{task}" for task in TASKS)):
        by_scene = s.user_scene_counters[name].reshape(len(s.users), len(s.labels["scene"]))
        assert (by_scene.sum(axis=0) > 0).all(), name
        np.testing.assert_array_equal(by_scene.sum(axis=1), s.users[name])


def test_truth_ranks_better_than_popularity(world: World, rows: tuple[Array, Array]) -> None:
    d, e = world.dataset, world.dataset.exposures
    train, test = e.time_ms < d.train_until_ms, e.time_ms >= d.valid_until_ms
    user, work = rows
    clicks = np.bincount(work[train], e.labels["click"][train], SIZES[0]) + d.snapshot.works["count_click"]
    exposures = np.bincount(work[train], minlength=SIZES[0]) + d.snapshot.works["count_exposed"]
    popularity = (clicks + 4) / (exposures + 10)
    truth = world.truth.probabilities(user[test], work[test], time_ms=e.time_ms[test], scene=e.scene[test])
    label = e.labels["click"][test]
    assert 0.72 < auc(label, truth["click"]) < 0.80
    assert auc(label, popularity[work[test]]) < auc(label, truth["click"]) - 0.1
    assert auc(label, popularity[work[test]]) > 0.52


def test_truth_is_calibrated(world: World, rows: tuple[Array, Array]) -> None:
    e = world.dataset.exposures
    truth = world.truth.probabilities(*rows, time_ms=e.time_ms, scene=e.scene)
    for task in ("click", "long_view"):
        for part in np.array_split(np.argsort(truth[task]), 10):
            assert abs(truth[task][part].mean() - e.labels[task][part].mean()) < 0.04, task


def test_probabilities_are_a_function_of_the_pair(world: World) -> None:
    users, works = np.array([5, 5, 2]), np.array([9, 9, 4])
    probabilities = world.truth.probabilities(users, works)
    assert set(probabilities) == set(TASKS)
    for task, probability in probabilities.items():
        assert probability.shape == (3,)
        assert probability.dtype == np.float32
        assert probability[0] == probability[1]
        parent = PARENT_TASKS[task]
        assert parent is None or (probability <= probabilities[parent]).all()
    tired = world.truth.probabilities(users, works, repeats={"tag": np.full(3, 4)})
    assert (tired["click"] < probabilities["click"]).all()


def test_followed_creator_is_not_followed_again(world: World) -> None:
    follower, creator = np.divmod(world.truth.follow_keys, SIZES[1])
    works = np.searchsorted(np.sort(world.truth.works.creator), creator)
    rows = np.argsort(world.truth.works.creator, kind="stable")[np.minimum(works, SIZES[0] - 1)]
    has_work = world.truth.works.creator[rows] == creator
    assert has_work.any()
    assert not world.truth.probabilities(follower[has_work], rows[has_work])["follow"].any()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_works": 99}, "n_works must be an integer ≥ 100, got 99"),
        ({"n_users": 0}, "n_users must be an integer ≥ 20"),
        ({"n_exposures": -1}, "n_exposures"),
        ({"n_exposures": 1000.5}, "n_exposures"),
        ({"days": 4}, "days must be an integer ≥ 5"),
        ({"seed": -1}, "seed"),
    ],
)
def test_make_world_rejects_too_small_sizes(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_world(**{"n_works": 100, "n_users": 20, "n_exposures": 100, **sizes})


def test_make_world_accepts_the_smallest_sizes() -> None:
    world = make_world(100, 20, 100, days=5)
    assert len(world.dataset.exposures) == 100


def test_probabilities_reject_rows_out_of_range(world: World) -> None:
    with pytest.raises(ValueError, match=r"work_rows\[1\] is 10000"):
        world.truth.probabilities(np.array([0, 1]), np.array([0, SIZES[0]]))
    with pytest.raises(ValueError, match=r"shape \(2,\).*\(1,\)"):
        world.truth.probabilities(np.array([0, 1]), np.array([0]))


def test_progress_counts_every_part_once() -> None:
    steps: list[tuple[int, int, str]] = []
    make_world(5000, 1000, 250_000, progress=lambda *step: steps.append(step))
    total = steps[-1][1]
    assert [step[:2] for step in steps] == [(number, total) for number in range(total + 1)]
    assert [message for _, _, message in steps].count("feedback") == 1 + 2


def test_expected_outcomes_are_the_means_of_the_feedback(world: World) -> None:
    exposures, snapshot = world.dataset.exposures, world.dataset.snapshot
    rows = snapshot.users.lookup(exposures.user_id), snapshot.works.lookup(exposures.work_id)
    names = ("like", "click", "play_time")
    expected = world.outcomes(names, *rows, exposures.time_ms, exposures.scene)
    labels = exposures.labels
    outcomes = np.stack([labels["like"], labels["click"], exposures.play_ms / 1000], axis=1)
    error = outcomes.std(axis=0) / len(outcomes) ** 0.5
    assert expected.shape == outcomes.shape
    difference = np.abs(expected.mean(axis=0) - outcomes.mean(axis=0))
    assert (difference < 5 * error + 0.02 * outcomes.mean(axis=0)).all()
    np.testing.assert_array_equal(
        expected[:, 1], world.task_probabilities(*rows, exposures.time_ms, exposures.scene)[:, 0]
    )
