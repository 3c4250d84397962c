"""Training rows as serving would have seen them: histories, ties, counters know only what was before a row's moment.

Strictly before: rows of one moment (one feed) do not know each other's outcome. The encoder that serves makes the
inputs, batch by batch, so that memory holds the exposures and not their features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from karec._clock import HOUR_MS
from karec.features.encoder import MOST_TIES, TIES, Encoder
from karec.kernels.encode import padded_histories
from karec.platform.dataset import Dataset
from karec.platform.events import Exposures
from karec.platform.folds.counters import Counts
from karec.platform.relations import Relation
from karec.platform.snapshot import Snapshot
from karec.types import Array

LOOKED_AT = 50_000
LOOKED_BACK = 4096
COUNTED = ("user_counts", "work_counts", "scene_counts")


@dataclass(frozen=True, eq=False)
class Events:
    """A list for each of M rows: ``values[starts[m]:ends[m]]``, oldest first."""

    values: Array
    starts: Array
    ends: Array

    def take(self, rows: Array) -> Events:
        return Events(self.values, self.starts[rows], self.ends[rows])

    def latest(self, width: int) -> Array:
        """(M, width) int64, newest first, −1 padded."""
        return padded_histories(self.values, self.starts, self.ends, width)


@dataclass(frozen=True, eq=False)
class Examples:
    """M exposures with what was known before each: rows of users and works, counters (M, ·) float32, event lists.

    ``scene_counts`` are the user's counters in the row's scene.
    ``as_of (M,)`` is what "before" means for each; ``works_past`` counts for any work as of any moment.
    ``labels (M, T) float32`` in the order of the encoder's tasks.
    """

    encoder: Encoder
    snapshot: Snapshot
    exposures: Exposures
    as_of: Array
    works_past: Counts
    user_rows: Array
    work_rows: Array
    user_counts: Array
    work_counts: Array
    scene_counts: Array
    events: Mapping[str, Events]
    labels: Array

    def __len__(self) -> int:
        return len(self.user_rows)

    def take(self, rows: Array) -> Examples:
        """The examples at ``rows`` (indices or a boolean mask)."""
        return replace(
            self,
            exposures=self.exposures.take(rows),
            **{name: getattr(self, name)[rows] for name in ("as_of", "user_rows", "work_rows", "labels", *COUNTED)},
            events={name: events.take(rows) for name, events in self.events.items()},
        )

    def between(self, start_ms: int, end_ms: int) -> Examples:
        """Those with start_ms ≤ time < end_ms."""
        time = self.exposures.time_ms
        return self.take((time >= start_ms) & (time < end_ms))

    def inputs(self, rows: Array) -> dict[str, Array]:
        """Every model input (see ``Encoder``) of the examples at ``rows``, user and item side with a row each."""
        user = self._user_inputs(rows)
        time, counts = self.exposures.time_ms[rows], self.work_counts[rows]
        items = self.encoder.encode_items(self.snapshot, self.work_rows[rows], time, counts)
        return {**user, **items, **self.encoder.encode_crosses(user, items)}

    def pool(self, row: int, works: Array) -> dict[str, Array]:
        """What a ranker reads of ``works (N,)`` (rows of works), had they been ranked with example ``row``: the user's
        side one row, the items' N."""
        user = self._user_inputs(np.array([row]))
        items = self.items(np.full(len(works), row), works)
        return {**user, **items, **self.encoder.encode_crosses(user, items)}

    def items(self, rows: Array, works: Array) -> dict[str, Array]:
        """The items' side of ``works (N,)`` as each would have been encoded with the example ``rows (N,)``."""
        counts = self.works_past.at(works, self.as_of[rows])
        return self.encoder.encode_items(self.snapshot, works, self.exposures.time_ms[rows], counts)

    def _user_inputs(self, rows: Array) -> dict[str, Array]:
        width = self.encoder.history_length
        lists = {name: events.take(rows) for name, events in self.events.items()}
        return self.encoder.encode_users(
            self.snapshot,
            self.user_rows[rows],
            self.exposures.time_ms[rows],
            self.exposures.scene[rows],
            history=lists["history"].latest(width),
            skipped=lists["skipped"].latest(width),
            ties={name: lists[name].latest(MOST_TIES) for name in TIES},
            counts=self.user_counts[rows],
            scene_counts=self.scene_counts[rows],
        )


def build_examples(
    encoder: Encoder, snapshot: Snapshot, exposures: Exposures, as_of_ms: Array | None = None
) -> Examples:
    """All ``exposures``, which follow ``snapshot`` in order of time, as examples. O(M log M).

    ``as_of_ms (M,)``: each row knows what was strictly before that moment, by default its own. A service that works on
    a published snapshot knows less, what was before its publication: ``refreshed`` says when that was. Equal to
    ``advance(snapshot, exposures, until_ms=as_of)`` and encoding there, for every row at once. Raises ValueError for
    rows before the snapshot or out of order, for as_of_ms after the row's own moment, for unknown users or works, and
    for a label that is missing or neither 0 nor 1.
    """
    _check_labels(encoder, exposures)
    time = exposures.time_ms
    as_of = time if as_of_ms is None else np.asarray(as_of_ms)
    _check_moments(snapshot, time, as_of)
    users, works = snapshot.users.lookup(exposures.user_id), snapshot.works.lookup(exposures.work_id)
    for what, rows, ids in (("user", users, exposures.user_id), ("work", works, exposures.work_id)):
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            at = int(unknown[0])
            raise ValueError(f"exposure {at} names {what} {int(ids[at])}, which the snapshot does not hold")
    by_user = _Before(len(snapshot.users), users, time, as_of)
    visit_rows = snapshot.visit_rows(users, exposures.scene)
    works_past = Counts(snapshot.works.columns, encoder.works.counters, works, exposures)
    return Examples(
        encoder=encoder,
        snapshot=snapshot,
        exposures=exposures,
        as_of=as_of,
        works_past=works_past,
        user_rows=users,
        work_rows=works,
        user_counts=Counts(snapshot.users.columns, encoder.users.counters, users, exposures).at(users, as_of),
        work_counts=works_past.at(works, as_of),
        scene_counts=Counts(snapshot.visits, encoder.visits.counters, visit_rows, exposures).at(visit_rows, as_of),
        events=_events(by_user, snapshot, exposures, users, works),
        labels=np.stack([exposures.labels[task] for task in encoder.tasks], axis=1).astype(np.float32),
    )


def refreshed(time_ms: Array, every_ms: int, origin_ms: int) -> Array:
    """(M,) the last moment ``origin_ms + n·every_ms`` at or before each of ``time_ms``."""
    if every_ms <= 0:
        raise ValueError(f"every_ms must be positive, got {every_ms}")
    return np.asarray(origin_ms + (time_ms - origin_ms) // every_ms * every_ms)


def as_known(dataset: Dataset, refresh_hours: float) -> Array:
    """(M,) the moment as of which each exposure's features are known, refreshed at the splits and every so often."""
    time_ms = dataset.exposures.time_ms
    if refresh_hours == 0:
        return time_ms
    moments = refreshed(time_ms, round(refresh_hours * HOUR_MS), dataset.valid_until_ms)
    return np.maximum(moments, dataset.snapshot.time_ms)


def check_no_leak(build: Callable[[Exposures], Examples], exposures: Exposures) -> None:
    """Refuse a ``build`` whose examples know an outcome of their own moment or later: ValueError names the inputs.

    All outcomes from the middle row's moment on are turned around, and the rows up to and at that moment encoded with
    and without that: an honest input cannot change. Looks at the first LOOKED_AT of ``exposures`` and, of the rows
    before the moment, the nearest LOOKED_BACK.
    """
    exposures = exposures.take(np.arange(min(LOOKED_AT, len(exposures))))
    moment = exposures.time_ms[len(exposures) // 2]
    later = exposures.time_ms >= moment
    turned = replace(
        exposures,
        labels={
            task: np.where(later, 1 - label, label).astype(label.dtype) for task, label in exposures.labels.items()
        },
        play_ms=np.where(later, exposures.play_ms + 60_000, exposures.play_ms),
    )
    until = np.flatnonzero(exposures.time_ms <= moment)[-LOOKED_BACK:]
    seen, seen_turned = (build(each).inputs(until) for each in (exposures, turned))
    leaking = [name for name in seen if not np.array_equal(seen[name], seen_turned[name])]
    if leaking:
        raise ValueError(f"the inputs {leaking} know outcomes before they have happened: training on them is cheating")


def _check_moments(snapshot: Snapshot, time: Array, as_of: Array) -> None:
    wrong = np.flatnonzero(np.diff(time, prepend=snapshot.time_ms) < 0)
    if len(wrong):
        raise ValueError(f"exposures must follow the snapshot in order of time; row {int(wrong[0])} is too early")
    if as_of.shape != time.shape:
        raise ValueError(f"as_of_ms has shape {as_of.shape}, expected {time.shape}")
    ahead = np.flatnonzero(as_of > time)
    if len(ahead):
        raise ValueError(f"as_of_ms[{int(ahead[0])}] is after the row's own moment: the row would know its future")


def _check_labels(encoder: Encoder, exposures: Exposures) -> None:
    missing = [task for task in encoder.tasks if task not in exposures.labels]
    if missing:
        raise ValueError(f"tasks {missing} have no label; the exposures have {sorted(exposures.labels)}")
    for name, label in exposures.labels.items():
        bad = np.flatnonzero((label != 0) & (label != 1))
        if len(bad):
            raise ValueError(f"label {name!r}, exposure {int(bad[0])}: {label[bad[0]]}, expected 0 or 1")


def _events(before: _Before, snapshot: Snapshot, exposures: Exposures, users: Array, works: Array) -> dict[str, Events]:
    """The lists that ``platform.folds.advance`` keeps, as of each row's moment; histories as work rows, ties as ids."""
    nothing = np.zeros(len(exposures), bool)
    said = {
        name: exposures.labels[name] > 0 if name in exposures.labels else nothing for name in ("click", "long_view")
    }
    enjoyed = said["click"] | said["long_view"]
    followed = exposures.labels["follow"] > 0 if "follow" in exposures.labels else nothing
    creators = np.asarray(snapshot.works["creator_id"])[works]
    nobody = Relation(np.zeros(len(snapshot.users) + 1, np.int64), np.empty(0, np.int64))
    old = {name: snapshot.relations.get(name, nobody) for name in ("history", "skipped", "follows", "friends")}
    as_rows = {
        name: replace(old[name], values=snapshot.works.lookup(old[name].values)) for name in ("history", "skipped")
    }
    return {
        "history": before.events(as_rows["history"], enjoyed, works),
        "skipped": before.events(as_rows["skipped"], ~enjoyed, works),
        "follows": before.events(
            old["follows"], followed & _first(old["follows"], users, creators, followed), creators
        ),
        "friends": before.events(old["friends"], nothing, creators),
    }


class _Before:
    """Answers, for M rows at once, what of the same user (or work) was strictly before each row's moment.

    Exposures are sorted by (row of the table, time), both packed into one key, and looked up by bisection.
    """

    def __init__(self, n_rows: int, rows: Array, time: Array, as_of: Array) -> None:
        self.rows = rows
        moments, rank = np.unique(time, return_inverse=True)
        step = len(moments) + 1
        self._key = rows * step + rank
        self._now = rows * step + np.searchsorted(moments, as_of)
        self._first = np.arange(n_rows + 1) * step

    def events(self, old: Relation, happened: Array, values: Array) -> Events:
        """``old`` entries, then ``values[m]`` of the rows where ``happened``, as far as they were before."""
        owner = np.repeat(np.arange(len(old)), np.diff(old.indptr))
        owners = np.concatenate([owner, self.rows[happened]])
        merged = np.concatenate([old.values, values[happened]])[np.argsort(owners, kind="stable")]
        keys = np.sort(self._key[happened])
        first = np.searchsorted(keys, self._first)
        n_before = np.searchsorted(keys, self._now) - first[self.rows]
        starts = (np.asarray(old.indptr) + first)[self.rows]
        return Events(np.asarray(merged, np.int64), starts, starts + np.diff(old.indptr)[self.rows] + n_before)


def _first(old: Relation, users: Array, values: Array, happened: Array) -> Array:
    """(M,) bool: rows where ``happened`` whose (user, value) is neither in ``old`` nor in an earlier such row."""
    rows = np.flatnonzero(happened)
    owner = np.repeat(np.arange(len(old)), np.diff(old.indptr))
    n_old = len(owner)
    keys = np.concatenate([np.stack([owner, old.values], axis=1), np.stack([users[rows], values[rows]], axis=1)])
    _, at = np.unique(keys, axis=0, return_index=True)
    first = np.zeros(len(users), bool)
    first[rows[at[at >= n_old] - n_old]] = True
    return first
