"""Makes a karaoke platform from a seed: a dataset to learn from, and the truth to evaluate against."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.lab.simulate.world.catalogue import (
    ERAS,
    TAGS,
    TYPES,
    Songs,
    Works,
    make_songs,
    make_tag_vectors,
    make_works,
)
from karec.lab.simulate.world.feedback import expected_play_ms, feedback_labels, realised_play_ms
from karec.lab.simulate.world.people import (
    AGE_BANDS,
    GENDERS,
    LEVELS,
    N_CITIES,
    People,
    as_relation,
    follow_graph,
    friend_graph,
    make_people,
)
from karec.lab.simulate.world.policy import Policy, ShownWorks
from karec.lab.simulate.world.satiation import KUAIRAND, Satiation
from karec.lab.simulate.world.tastes import PARENT_TASKS, SCENES, TASK_RATES, TASKS, Truth, sigmoid
from karec.times import DAY_MS, Progress

START_MS = int(datetime(2021, 3, 1, tzinfo=timezone(timedelta(hours=8))).timestamp() * 1000)
BEFORE_DAYS = 60
WARM_DAYS = 7
FIRST_SONG_ID, FIRST_USER_ID, FIRST_WORK_ID = 1, 10_000_001, 1_000_000_001
MIN_WORKS, MIN_USERS, MIN_EXPOSURES, MIN_DAYS = 100, 20, 100, 5
CHUNK = 200_000
PARTS = ("people", "graphs", "songs", "works", "warm", "warm feedback", "shown", "feedback", "salt")


@dataclass(frozen=True, eq=False)
class World:
    """A platform with its truth.

    dataset  the platform's data
    truth    hidden tastes, by the same rows
    start    the platform a week earlier
    past     the impressions since then
    """

    dataset: Dataset
    truth: Truth
    start: Snapshot
    past: Impressions

    def task_probabilities(
        self, user_rows: NDArray[Any], work_rows: NDArray[Any], time_ms: NDArray[Any], scene: NDArray[Any]
    ) -> NDArray[Any]:
        """Returns (N, T): true probabilities of the dataset's tasks, without satiation."""
        probabilities = self.truth.probabilities(user_rows, work_rows, time_ms=time_ms, scene=scene)
        return np.stack([probabilities[task] for task in self.dataset.tasks], axis=1)

    def outcomes(
        self,
        names: Sequence[str],
        user_rows: NDArray[Any],
        work_rows: NDArray[Any],
        time_ms: NDArray[Any],
        scene: NDArray[Any],
    ) -> NDArray[Any]:
        """Returns (N, names): true probabilities of labels; of ``play_time`` the expected seconds."""
        probabilities = self.truth.probabilities(user_rows, work_rows, time_ms=time_ms, scene=scene)
        duration_ms = self.truth.works.duration_ms[work_rows]
        play_s = expected_play_ms(duration_ms, probabilities) / 1000
        return np.stack([play_s if name == "play_time" else probabilities[name] for name in names], axis=1)


def make_world(
    n_works: int,
    n_users: int,
    n_exposures: int,
    *,
    days: int = 14,
    seed: int = 0,
    satiation: Satiation = KUAIRAND,
    progress: Progress | None = None,
) -> World:
    """Makes a platform with ``n_works`` works and ``n_exposures`` impressions over ``days`` days from
    2021-03-01.

    Works are uploaded over the 60 days before and the ``days`` themselves. The snapshot has all of them;
    those with ``upload_ms > time_ms`` do not exist yet. Another n_exposures // 2 impressions of the week
    before are aggregated into the snapshot as counters and histories. A quarter of the users joins in these
    weeks, so the test contains new users. The last two days are the test, the two before are validation. Time
    zone: China.

    The same arguments give the same arrays: each part draws from its own child of ``SeedSequence(seed)``, and
    no sum depends on the number of threads.

    Raises:
        ValueError: sizes that are too small to split.

    Cost: O(n log n) in each size. 1e6 works with 2e6 impressions take about 10 s and 1 GiB on one core.
    """
    _check_sizes(n_works, n_users, n_exposures, days, seed)
    rngs = dict(
        zip(PARTS, map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(PARTS))), strict=True)
    )
    n_warm, end_ms, warm_ms = n_exposures // 2, START_MS + days * DAY_MS, START_MS - WARM_DAYS * DAY_MS
    steps = itertools.count()
    n_steps = 4 + -(-n_warm // CHUNK) + -(-n_exposures // CHUNK)

    def report(message: str) -> None:
        if progress is not None:
            progress(next(steps), n_steps, message)

    report("users")
    people = make_people(n_users, n_works, len(TASKS), WARM_DAYS, days, rngs["people"])
    edges = {
        "follow_keys": follow_graph(people, rngs["graphs"]),
        "friend_keys": friend_graph(people, rngs["graphs"]),
    }
    report("works")
    tag_vectors = make_tag_vectors(rngs["songs"])
    songs = make_songs(n_works, tag_vectors, rngs["songs"])
    works = make_works(n_works, people, songs, START_MS - BEFORE_DAYS * DAY_MS, end_ms, rngs["works"])
    report("impressions of the week before")
    policy = Policy(people, songs, works, START_MS, tag_vectors=tag_vectors, **edges, satiation=satiation)
    warm = policy.show(n_warm, warm_ms, START_MS, rngs["warm"])
    report("impressions")
    shown = policy.show(n_exposures, START_MS, end_ms, rngs["shown"])
    salt = int(rngs["salt"].integers(1 << 62))
    no_intercepts = dict.fromkeys(TASKS, 0.0)
    truth = Truth(
        people,
        songs,
        works,
        **edges,
        salt=salt,
        time_ms=end_ms,
        intercepts=no_intercepts,
        satiation=satiation,
    )
    truth = replace(truth, intercepts=_calibrate(truth, shown))
    start = _snapshot(truth, warm_ms)
    past = _feedback(truth, start, warm, rngs["warm feedback"], report)
    exposures = _feedback(truth, start, shown, rngs["feedback"], report)
    snapshot = advance(start, past, START_MS)
    report("done")
    dataset = Dataset(
        name="world",
        snapshot=snapshot,
        exposures=exposures,
        train_until_ms=end_ms - 4 * DAY_MS,
        valid_until_ms=end_ms - 2 * DAY_MS,
        tasks=("click", "long_view", "like"),
        weights={"like": 2.0},
    )
    return World(dataset, truth, start, past)


def _check_sizes(n_works: int, n_users: int, n_exposures: int, days: int, seed: int) -> None:
    sizes = {"n_works": (n_works, MIN_WORKS), "n_users": (n_users, MIN_USERS)}
    sizes |= {"n_exposures": (n_exposures, MIN_EXPOSURES), "days": (days, MIN_DAYS), "seed": (seed, 0)}
    for name, (value, minimum) in sizes.items():
        if value < minimum or value != int(value):
            raise ValueError(f"{name} must be an integer ≥ {minimum}, got {value!r}")


def _calibrate(truth: Truth, shown: ShownWorks) -> dict[str, float]:
    """Returns intercepts that give each task its rate on a sample of ``shown``, by bisection."""
    rows = np.arange(0, len(shown), max(len(shown) // 100_000, 1))
    user = shown.user[rows]
    causes = truth.causes(user, shown.work[rows], shown.time_ms[rows], shown.scene[rows])
    repeats = {cause: count[rows] for cause, count in shown.repeats.items()}
    intercepts: dict[str, float] = {}
    probabilities: dict[str, NDArray[Any]] = {}
    for task in TASKS:
        parent = PARENT_TASKS[task]
        reach = np.ones(len(rows)) if parent is None else probabilities[parent]
        if task == "follow":
            reach = reach * (causes["follow"] == 0)
        logits = truth.logits(task, user, causes, repeats)
        low, high = -30.0, 30.0
        for _ in range(50):
            middle = 0.5 * (low + high)
            is_too_high = float((reach * sigmoid(logits + middle)).mean()) > TASK_RATES[task]
            low, high = (low, middle) if is_too_high else (middle, high)
        intercepts[task] = low
        probabilities[task] = reach * sigmoid(logits + low)
    return intercepts


def _feedback(
    truth: Truth,
    snapshot: Snapshot,
    shown: ShownWorks,
    rng: np.random.Generator,
    report: Callable[[str], None],
) -> Impressions:
    """Draws the feedback to ``shown``: one number per stage of the funnel, then one for the play time."""
    n = len(shown)
    labels = {task: np.empty(n, np.uint8) for task in TASKS}
    play_ms = np.empty(n, np.int64)
    for start in range(0, n, CHUNK):
        report("feedback")
        rows = slice(start, start + CHUNK)
        work = shown.work[rows]
        probabilities = truth.probabilities(
            shown.user[rows],
            work,
            time_ms=shown.time_ms[rows],
            scene=shown.scene[rows],
            repeats={cause: count[rows] for cause, count in shown.repeats.items()},
        )
        feedback = feedback_labels(probabilities, {task: rng.random(len(work)) for task in TASKS})
        for task in TASKS:
            labels[task][rows] = feedback[task]
        play_ms[rows] = realised_play_ms(truth.works.duration_ms[work], feedback, rng.random(len(work)))
    return Impressions(
        snapshot.users.ids[shown.user],
        snapshot.works.ids[shown.work],
        shown.time_ms,
        shown.scene,
        labels,
        play_ms,
    )


def _snapshot(truth: Truth, time_ms: int) -> Snapshot:
    people, songs, works = truth.people, truth.songs, truth.works
    user_ids = FIRST_USER_ID + np.arange(len(people), dtype=np.int64)
    n_works = np.bincount(works.creator[works.upload_ms <= time_ms], minlength=len(people))
    follows = as_relation(truth.follow_keys, len(people), user_ids)
    friends = as_relation(truth.friend_keys, len(people), user_ids)
    users = {
        "city": people.city,
        "gender": people.gender,
        "age_band": people.age_band,
        "family": people.family,
        "level": people.levels(n_works),
        "log_register_days": np.log1p(np.maximum(people.register_days, 0.0)).astype(np.float32),
        "log_follows": np.log1p(np.diff(follows.indptr)).astype(np.float32),
        "log_friends": np.log1p(np.diff(friends.indptr)).astype(np.float32),
    }
    return Snapshot(
        time_ms=time_ms,
        works=work_table(people, songs, works),
        users=Table(user_ids, users),
        relations={"follows": follows, "friends": friends},
        labels={
            "scene": SCENES,
            "type": TYPES,
            "tag": TAGS,
            "era": ERAS,
            "gender": GENDERS,
            "age_band": AGE_BANDS,
            "level": LEVELS,
            "city": [f"city {i + 1}" for i in range(N_CITIES)],
        },
        meaning=Meaning(enjoyed=("click", "long_view"), liked=("like",), followed=("follow",)),
    )


def work_table(people: People, songs: Songs, works: Works, first_row: int = 0) -> Table:
    """Returns the table of ``works`` that a platform has. Ids are those of the rows from ``first_row`` on."""
    columns = {
        "creator_id": FIRST_USER_ID + works.creator,
        "song_id": FIRST_SONG_ID + works.song,
        "type": works.type,
        "tag": songs.tag[works.song],
        "upload_ms": works.upload_ms,
        "era": songs.era[works.song],
        "city": people.city[works.creator],
        "family": people.family[works.creator],
        "log_duration": np.log1p(works.duration_ms / 1000.0).astype(np.float32),
        "voice_score": works.voice_score,
    }
    return Table(FIRST_WORK_ID + first_row + np.arange(len(works), dtype=np.int64), columns)
