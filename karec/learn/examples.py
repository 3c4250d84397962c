"""Training rows as serving would have seen them: histories, ties, counters know only what was before a row's moment.

Strictly before: rows of one moment (one feed) do not know each other's outcome. The encoder that serves makes the
inputs, batch by batch, so that memory holds the exposures and not their features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from karec.encoder import MOST_TIES, TIES, Encoder
from karec.kernels.encode import padded_histories
from karec.snapshot import Exposures, Relation, Snapshot
from karec.types import Array


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

    ``labels (M, T) float32`` in the order of the encoder's tasks.
    """

    encoder: Encoder
    snapshot: Snapshot
    exposures: Exposures
    user_rows: Array
    work_rows: Array
    user_counts: Array
    work_counts: Array
    events: Mapping[str, Events]
    labels: Array

    def __len__(self) -> int:
        return len(self.user_rows)

    def take(self, rows: Array) -> Examples:
        """The examples at ``rows`` (indices or a boolean mask)."""
        return replace(
            self,
            exposures=self.exposures.take(rows),
            **{
                name: getattr(self, name)[rows]
                for name in ("user_rows", "work_rows", "user_counts", "work_counts", "labels")
            },
            events={name: events.take(rows) for name, events in self.events.items()},
        )

    def between(self, start_ms: int, end_ms: int) -> Examples:
        """Those with start_ms ≤ time < end_ms."""
        time = self.exposures.time_ms
        return self.take((time >= start_ms) & (time < end_ms))

    def inputs(self, rows: Array) -> dict[str, Array]:
        """Every model input (see ``Encoder``) of the examples at ``rows``, user and item side with a row each."""
        encoder, exposures = self.encoder, self.exposures
        time = exposures.time_ms[rows]
        width = encoder.history_length
        lists = {name: events.take(rows) for name, events in self.events.items()}
        user = encoder.encode_users(
            self.snapshot,
            self.user_rows[rows],
            time,
            exposures.scene[rows],
            history=lists["history"].latest(width),
            skipped=lists["skipped"].latest(width),
            ties={name: lists[name].latest(MOST_TIES) for name in TIES},
            counts=self.user_counts[rows],
        )
        items = encoder.encode_items(self.snapshot, self.work_rows[rows], time, self.work_counts[rows])
        return {**user, **items, **encoder.encode_crosses(user, items)}


def build_examples(encoder: Encoder, snapshot: Snapshot, exposures: Exposures) -> Examples:
    """All ``exposures``, which follow ``snapshot`` in order of time, as examples. O(M log M).

    Equal to ``advance(snapshot, exposures, until_ms=moment)`` and encoding there, for every moment at once. Raises
    ValueError for rows before the snapshot or out of order, or that name a user or work it does not hold.
    """
    time = exposures.time_ms
    wrong = np.flatnonzero(np.diff(time, prepend=snapshot.time_ms) < 0)
    if len(wrong):
        raise ValueError(f"exposures must follow the snapshot in order of time; row {int(wrong[0])} is too early")
    users, works = snapshot.users.lookup(exposures.user_id), snapshot.works.lookup(exposures.work_id)
    for what, rows, ids in (("user", users, exposures.user_id), ("work", works, exposures.work_id)):
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            at = int(unknown[0])
            raise ValueError(f"exposure {at} names {what} {int(ids[at])}, which the snapshot does not hold")
    tables = ((encoder.users.counters, snapshot.users, users), (encoder.works.counters, snapshot.works, works))
    counts = [
        _counts_before(
            rows,
            time,
            np.stack([_told(exposures, name) for name in counters], axis=1) if counters else np.empty((len(time), 0)),
            np.stack([table[name] for name in counters], axis=1) if counters else np.empty((len(table), 0)),
        )
        for counters, table, rows in tables
    ]
    return Examples(
        encoder=encoder,
        snapshot=snapshot,
        exposures=exposures,
        user_rows=users,
        work_rows=works,
        user_counts=counts[0],
        work_counts=counts[1],
        events=_events(snapshot, exposures, users, works),
        labels=np.stack([exposures.labels[task] for task in encoder.tasks], axis=1).astype(np.float32),
    )


def _told(exposures: Exposures, counter: str) -> Array:
    """What each exposure adds to a counter."""
    label = counter.removeprefix("count_")
    return np.ones(len(exposures)) if label == "exposed" else exposures.labels[label].astype(np.float64)


def _counts_before(rows: Array, time: Array, values: Array, base: Array) -> Array:
    """(M, K) float32: ``base[rows[m]]`` plus all ``values[j]`` with rows[j] = rows[m] and time[j] < time[m]."""
    order = np.lexsort((time, rows))
    r, t = rows[order], time[order]
    new_row = np.diff(r, prepend=-1) != 0
    new_moment = new_row | (np.diff(t, prepend=-1) != 0)
    running = np.cumsum(values[order], axis=0) - values[order]
    position = np.arange(len(r))
    row_start = np.maximum.accumulate(np.where(new_row, position, 0))
    moment_start = np.maximum.accumulate(np.where(new_moment, position, 0))
    counts = np.empty((len(r), values.shape[1]), np.float32)
    counts[order] = base[r] + running[moment_start] - running[row_start]
    return counts


def _events(snapshot: Snapshot, exposures: Exposures, users: Array, works: Array) -> dict[str, Events]:
    """The lists that ``karec.data.advance`` keeps, as of each exposure; histories as work rows, ties as ids."""
    nothing = np.zeros(len(exposures), bool)
    said = {
        name: exposures.labels[name] > 0 if name in exposures.labels else nothing for name in ("click", "long_view")
    }
    enjoyed = said["click"] | said["long_view"]
    followed = exposures.labels["follow"] > 0 if "follow" in exposures.labels else nothing
    creators = np.asarray(snapshot.works["creator_id"])[works]
    old = {name: snapshot.relations.get(name) for name in ("history", "skipped", "follows", "friends")}
    as_rows = {
        name: None if old[name] is None else replace(old[name], values=snapshot.works.lookup(old[name].values))
        for name in ("history", "skipped")
    }
    before = _Before(len(snapshot.users), users, exposures.time_ms)
    return {
        "history": before.events(as_rows["history"], enjoyed, works),
        "skipped": before.events(as_rows["skipped"], ~enjoyed, works),
        "follows": before.events(
            old["follows"], followed & _first(old["follows"], users, creators, followed), creators
        ),
        "friends": before.events(old["friends"], nothing, creators),
    }


class _Before:
    """Answers, for M moments of users at once, which events were strictly earlier."""

    def __init__(self, n_users: int, users: Array, time: Array) -> None:
        self.n_users = n_users
        self.users = users
        moments, rank = np.unique(time, return_inverse=True)
        self._step = len(moments) + 1
        self._now = users * self._step + rank

    def events(self, old: Relation | None, happened: Array, values: Array) -> Events:
        """``old`` entries, then ``values[m]`` of the rows where ``happened``, of the same user and before row m."""
        if old is None:
            old = Relation(np.zeros(self.n_users + 1, np.int64), np.empty(0, np.int64))
        owner = np.repeat(np.arange(self.n_users), np.diff(old.indptr))
        rows = np.concatenate([owner, self.users[happened]])
        merged = np.concatenate([old.values, values[happened]])[np.argsort(rows, kind="stable")]
        keys = np.sort(self._now[happened])
        first = np.searchsorted(keys, np.arange(self.n_users + 1) * self._step)
        n_before = np.searchsorted(keys, self._now) - first[self.users]
        starts = (np.asarray(old.indptr) + first)[self.users]
        return Events(np.asarray(merged, np.int64), starts, starts + np.diff(old.indptr)[self.users] + n_before)


def _first(old: Relation | None, users: Array, values: Array, happened: Array) -> Array:
    """(M,) bool: rows where ``happened`` whose (user, value) is neither in ``old`` nor in an earlier such row."""
    rows = np.flatnonzero(happened)
    keys = np.stack([users[rows], values[rows]], axis=1)
    n_old = 0
    if old is not None:
        owner = np.repeat(np.arange(len(old)), np.diff(old.indptr))
        n_old = len(owner)
        keys = np.concatenate([np.stack([owner, old.values], axis=1), keys])
    _, at = np.unique(keys, axis=0, return_index=True)
    first = np.zeros(len(users), bool)
    first[rows[at[at >= n_old] - n_old]] = True
    return first
