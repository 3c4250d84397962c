"""What stood near an exposure in its user's feed: works of the same creator, tag or song, before it and after
it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from karec._clock import DAY_MS, HOUR_MS
from karec.errors import DataError
from karec.platform.dataset import Dataset
from karec.platform.schema import CREATOR, SONG, TAG
from karec.platform.snapshot import Snapshot
from karec.types import Array

CAUSES = {"creator": CREATOR, "tag": TAG, "song": SONG}
SESSION_MS = HOUR_MS // 2  # a longer pause begins a session
AGO = {
    "10 minutes": HOUR_MS // 6,
    "1 hour": HOUR_MS,
    "1 day": DAY_MS,
    "longer ago": np.iinfo(np.int64).max,
}


@dataclass(frozen=True, eq=False)
class Feeds:
    """N exposures, user by user, each user's in order of time.

    user, work  (N,) int64 from 0; scene (N,) int32; time_ms (N,) int64; labels {name: (N,) uint8}
    values      {cause: (N,) int64}: the work's creator, tag or song, negative where it has none
    known       {cause: (N,) int64}: works of the same value in the user's history as the log begins
    first       (N,) bool: this user was not shown the work before
    place       (N,) int64: exposures of the user before this one; in_session, those of the session
    pause_ms    (N,) int64: since the user's exposure before; 0 for the first
    """

    user: Array
    work: Array
    scene: Array
    time_ms: Array
    labels: Mapping[str, Array]
    values: Mapping[str, Array]
    known: Mapping[str, Array]
    first: Array
    place: Array
    in_session: Array
    pause_ms: Array

    def __len__(self) -> int:
        return len(self.user)

    @staticmethod
    def of(dataset: Dataset) -> Feeds:
        """The dataset's exposures of works that it knows. DataError for data that cannot say what followed
        what."""
        _check(dataset)
        works, shown = dataset.snapshot.works, dataset.exposures
        row = works.lookup(shown.work_id)
        order = np.lexsort((shown.time_ms, shown.user_id))
        order = order[row[order] >= 0]
        user = np.unique(shown.user_id[order], return_inverse=True)[1]
        n_users = len(np.unique(user))
        if n_users < 2:
            raise DataError(
                f"{dataset.name}: exposures are of {n_users} users. Intervals resample users: two are the "
                f"least, "
                "hundreds are of use"
            )
        if n_users == len(user):
            raise DataError(
                f"{dataset.name}: no user has two exposures, nothing was shown again: a longer log is needed"
            )
        work, time = row[order], shown.time_ms[order]
        other = np.r_[True, user[1:] != user[:-1]]
        begins = other | np.r_[True, np.diff(time) > SESSION_MS]
        first = np.zeros(len(user), bool)
        first[np.unique(user * len(works) + work, return_index=True)[1]] = True
        values = {cause: np.asarray(works[role], np.int64)[work] for cause, role in _roles(dataset).items()}
        labels = {name: label[order] for name, label in shown.labels.items()}
        of_user = dataset.snapshot.users.lookup(shown.user_id[order])
        known = {
            cause: _in_history(dataset.snapshot, role, of_user, values[cause])
            for cause, role in _roles(dataset).items()
        }
        scene = shown.scene[order]
        pause = np.where(other, 0, np.r_[0, np.diff(time)])
        return Feeds(
            user, work, scene, time, labels, values, known, first, _since(other), _since(begins), pause
        )

    def repeats(self, cause: str, windows: Sequence[int], *, after: bool = False) -> dict[int, Array]:
        """{n: (N,) int32}: how many of the n exposures just before (``after``: just after) are of other works
        with the same value. O(N · the largest n).
        """
        value, count, found = self.values[cause], np.zeros(len(self), np.int32), {}
        for apart in range(1, max(windows) + 1):
            near, far = slice(None, -apart), slice(apart, None)
            same = (self.user[far] == self.user[near]) & (value[far] == value[near]) & (value[far] >= 0)
            count[near if after else far] += same & (self.work[far] != self.work[near])
            if apart in windows:
                found[apart] = count.copy()
        return found

    def ago(self, cause: str | None = None) -> Array:
        """(N,) int64: 0 where the user was not shown the value before, else 1 + the place in AGO of how long
        ago that was; without a ``cause``, of the exposure before, whatever its value. O(N log N).
        """
        value = np.zeros(len(self), np.int64) if cause is None else self.values[cause]
        order = np.lexsort((value, self.user))  # stable: in order of time within a user's value
        same = (np.diff(self.user[order]) == 0) & (np.diff(value[order]) == 0) & (value[order[1:]] >= 0)
        passed = np.diff(self.time_ms[order])
        code = np.zeros(len(self), np.int64)
        code[order[1:]] = np.where(same, 1 + np.searchsorted(list(AGO.values()), passed), 0)
        return code

    def earlier(self, cause: str | None, label: str, given: str | None = None) -> tuple[Array, Array]:
        """((N,), (N,)) int64: the user's earlier exposures of the value, and how many of them have the label;
        without a ``cause``, of any value. With ``given``, of exposures with that label alone. O(N log N).
        """
        value = np.zeros(len(self), np.int64) if cause is None else self.values[cause]
        order = np.lexsort((value, self.user))
        since = _since(np.r_[True, (np.diff(self.user[order]) != 0) | (np.diff(value[order]) != 0)])
        counts = np.ones(len(self), np.int64) if given is None else (self.labels[given] > 0).astype(np.int64)
        found = np.zeros((2, len(self)), np.int64)
        for at, part in enumerate((counts, counts * self.labels[label])):
            before = np.cumsum(part[order]) - part[order]
            found[at, order] = np.where(value[order] >= 0, before - before[np.arange(len(before)) - since], 0)
        return found[0], found[1]


def _check(dataset: Dataset) -> None:
    if dataset.timeless:
        raise DataError(
            f"{dataset.name} has no times, so nothing says what was shown before what: name the column of "
            f"times in "
            "columns of [events]"
        )
    if dataset.drawn is not None:
        raise DataError(
            f"{dataset.name} is a log of positives alone, its other exposures were drawn and nobody was "
            f"shown them: "
            "a log of what was shown is needed"
        )
    if not _roles(dataset):
        raise DataError(
            f"{dataset.name} names no creator, tag or song of its works: name one in roles of [items]"
        )
    for task in dataset.tasks:
        label = dataset.exposures.labels[task]
        if not len(label) or label.min() == label.max():
            which = "no exposures" if not len(label) else "no positive" if label.max() == 0 else "no negative"
            raise DataError(
                f"{dataset.name}: label {task!r} has {which}, nothing can change it: say task = false of it "
                f"in [labels]"
            )


def _roles(dataset: Dataset) -> dict[str, str]:
    return {cause: role for cause, role in CAUSES.items() if role in dataset.snapshot.works.columns}


def _since(begins: Array) -> Array:
    """(N,) int64: rows since the last one at which something begins; the first row begins."""
    at = np.flatnonzero(begins)
    return np.arange(len(begins)) - np.repeat(at, np.diff(np.r_[at, len(begins)]))


def _in_history(snapshot: Snapshot, role: str, user: Array, value: Array) -> Array:
    """(N,) int64: how many works of ``value (N,)`` are in the history of the user of row ``user (N,)``."""
    history = snapshot.relations.get("history")
    if history is None:
        return np.zeros(len(user), np.int64)
    work = snapshot.works.lookup(history.values)
    of = np.repeat(np.arange(len(history)), np.diff(history.indptr))[work >= 0]
    codes, code = np.unique(np.asarray(snapshot.works[role], np.int64), return_inverse=True)
    keys, count = np.unique(of * len(codes) + code[work[work >= 0]], return_counts=True)
    wanted = user * len(codes) + np.searchsorted(codes, value)
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    there = (value >= 0) & (keys[at] == wanted) if len(keys) else np.zeros(len(user), bool)
    return np.where(there, count[at] if len(keys) else 0, 0)
