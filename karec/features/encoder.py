"""Raw features into model inputs: one object, fitted on training data, serves and trains, so the two cannot disagree.

Read from a snapshot's columns, by rule: an integer column is a category; an integer column named ``*_ms`` a moment, and
its age a number; a floating column a number; ``count_exposed`` and ``count_<label>`` counters, of which come a log
count and a smoothed rate for each label. A work's own id is its first category. The counters of ``visits``, by user and
scene, say the same of the tasks in the request's scene.

Codes: 0 is missing, unknown or padding; 1…K are the values that training saw at least ``min_count`` times, most
frequent first; anything else has a code ≥ FIRST_UNSEEN of its own, so that a song too rare for an embedding can still
be found in a history. Models read every code above K as 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from karec._clock import HOUR_MS
from karec.errors import BundleError
from karec.features.cowatch import CROSSES, CowatchVectors
from karec.features.scene_counters import VisitCoder
from karec.features.table import EncodedSnapshot, TableCoder, vocabulary
from karec.kernels.encode import Vocabulary, count_matches, padded_histories
from karec.platform.events import Exposures
from karec.platform.snapshot import Snapshot
from karec.types import Array

CONTEXT = ("scene", "hour", "weekday")
TIES = {"follows": "creator_followed", "friends": "creator_is_friend"}  # relation of the user: cross feature
MOST_TIES = 100  # the latest so many are looked at
USER_SIDE = (  # what encode_users gives
    *("user_id", "user_ids", "user_numbers", "history", "skipped", "context"),
    *("alike", "history_cowatch", "skipped_cowatch", *TIES),
)
FORMAT = 3


@dataclass(frozen=True, eq=False)
class Encoder:
    """The inputs of every model, by name (N or U rows; U user columns, H history slots, I item columns, T tasks):

    user_id (U, 1) int64: who it is; user_ids (U, ·) int64: what their profile says; user_numbers (U, F) float32;
    history and skipped (U, H, I) int64: the item_ids of those works, newest first, zero-padded; context (U, 3)
    int64: scene, hour and weekday (UTC); item_ids (N, I) int64, item_numbers (N, J) float32; crosses (N, X) float32.

    For the crosses alone, the user's side also holds follows and friends (U, MOST_TIES) int64, codes of creators,
    alike (U, P) int64, the user's value in each column that works have by the same name (a city), in the works' codes,
    and history_cowatch and skipped_cowatch (U, H) int64, rows of ``cowatch``'s vectors, as is the items' cowatch (N,).
    """

    tasks: tuple[str, ...]
    history_length: int
    users: TableCoder
    works: TableCoder
    visits: VisitCoder
    scenes: Vocabulary
    people: Vocabulary
    cowatch: CowatchVectors | None = None
    _tables: WeakKeyDictionary[Snapshot, EncodedSnapshot] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )
    _encoding: Lock = field(default_factory=Lock, init=False, repr=False)

    @classmethod
    def fit(
        cls,
        snapshot: Snapshot,
        exposures: Exposures,
        tasks: Sequence[str],
        *,
        history_length: int = 30,
        min_count: int = 5,
        user_min_count: int = 5,
        cowatch: CowatchVectors | None = None,
    ) -> Encoder:
        """Vocabularies, number scales and prior rates from training ``exposures`` that follow ``snapshot``.

        Only columns that do not change with time and the labels' means are looked at, so nothing about a single
        row's future enters. Raises ValueError when a task has no label or labels of one class alone, naming it, and
        when no exposure names a known work and user.
        """
        missing = [task for task in tasks if task not in exposures.labels]
        if missing:
            raise ValueError(f"tasks {missing} have no label; the exposures have {sorted(exposures.labels)}")
        if min(history_length, min_count, user_min_count) <= 0:
            raise ValueError(
                f"history_length, min_count and user_min_count must be positive, got {history_length}, {min_count} and "
                f"{user_min_count}"
            )
        user_rows = snapshot.users.lookup(exposures.user_id)
        work_rows = snapshot.works.lookup(exposures.work_id)
        known = (user_rows >= 0) & (work_rows >= 0)
        if not known.any():
            raise ValueError(f"none of the {len(exposures)} exposures names a user and a work that the snapshot holds")
        rates = {label: float(values[known].mean()) for label, values in exposures.labels.items()}
        for task in tasks:
            if rates[task] in (0.0, 1.0):
                raise ValueError(f"task {task!r}: all {int(known.sum())} labels are {rates[task]:.0f}, of one class")
        time = exposures.time_ms[known]
        scenes, counts = np.unique(exposures.scene[known & (exposures.scene >= 0)], return_counts=True)
        by_frequency = Vocabulary(scenes[np.argsort(-counts, kind="stable")])
        labels = {task: exposures.labels[task][known] for task in tasks}
        return cls(
            tasks=tuple(tasks),
            history_length=history_length,
            users=TableCoder.fit(snapshot.users, user_rows[known], time, rates, min_count, own_id=False),
            works=TableCoder.fit(snapshot.works, work_rows[known], time, rates, min_count, own_id=True),
            visits=VisitCoder.fit(snapshot, by_frequency.encode(exposures.scene[known]), len(by_frequency), labels),
            scenes=by_frequency,
            people=vocabulary(exposures.user_id[known], user_min_count),
            cowatch=cowatch,
        )

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """For user_id, user_ids, item_ids and context: per column, how many codes 0…K an embedding needs (K + 1)."""
        return {
            "user_id": (len(self.people) + 1,),
            "user_ids": self.users.sizes,
            "item_ids": self.works.sizes,
            "context": (len(self.scenes) + 1, 25, 8),
        }

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """For each input, what its columns are."""
        columns = self.works.category_names
        kinds = ("in_history", "in_skipped", "newest_in_history", "newest_in_skipped")
        return {
            "user_id": ("id",),
            "user_ids": self.users.category_names,
            "user_numbers": (*self.users.number_names, "log_history", "log_skipped", *self.visits.number_names),
            "context": CONTEXT,
            "item_ids": columns,
            "item_numbers": self.works.number_names,
            "crosses": (
                *(f"{column}_{kind}" for kind in kinds for column in columns),
                *TIES.values(),
                *(f"same_{column}" for column in self._shared),
                *(() if self.cowatch is None else CROSSES),
            ),
        }

    @cached_property
    def _shared(self) -> tuple[str, ...]:
        """Categories that users and works have by the same name."""
        return tuple(name for name in self.works.categories if name in self.users.categories)

    def tables(self, snapshot: Snapshot) -> EncodedSnapshot:
        """``snapshot`` encoded once, by whichever thread asks first: O(rows); kept while the snapshot lives."""
        found = self._tables.get(snapshot)
        if found is None:
            with self._encoding:
                found = self._tables.get(snapshot)
                if found is None:
                    found = self._tables[snapshot] = self._encoded(snapshot)
        return found

    def _encoded(self, snapshot: Snapshot) -> EncodedSnapshot:
        self.visits.check(snapshot)
        alike = np.zeros((len(snapshot.users) + 1, len(self._shared)), np.int64)
        for at, name in enumerate(self._shared):
            alike[:-1, at] = self.works.code(name, snapshot.users[name])
        people = np.zeros((len(snapshot.users) + 1, 1), np.int64)
        people[:-1, 0] = self.people.encode(snapshot.users.ids)
        cowatch = np.zeros(len(snapshot.works) + 1, np.int64)
        if self.cowatch is not None:
            cowatch[:-1] = self.cowatch.codes(snapshot.works.ids)
        users, works = self.users.encode(snapshot.users), self.works.encode(snapshot.works)
        return EncodedSnapshot(users, works, alike, people, cowatch)

    def encode_user(self, snapshot: Snapshot, user_id: int, time_ms: int, scene_code: int) -> dict[str, Array]:
        """The user's side of a request, one row each. An unknown user has codes 0, mean numbers and no history."""
        row = int(snapshot.users.lookup(np.array([user_id]))[0])
        return self.encode_users(
            snapshot,
            np.array([row]),
            np.array([time_ms]),
            np.array([scene_code]),
            history=self._latest(snapshot, "history", row),
            skipped=self._latest(snapshot, "skipped", row),
            ties={name: _last_of(snapshot, name, row, MOST_TIES) for name in TIES},
        )

    def encode_users(
        self,
        snapshot: Snapshot,
        rows: Array,
        time_ms: Array,
        scenes: Array,
        *,
        history: Array,
        skipped: Array,
        ties: Mapping[str, Array],
        counts: Array | None = None,
        scene_counts: Array | None = None,
    ) -> dict[str, Array]:
        """The user's side of many moments: ``rows, time_ms, scenes (U,)``.

        ``history, skipped (U, H)`` are work rows, ``ties`` {follows, friends: (U, L)} ids of creators; −1 padded.
        ``counts (U, 1 + labels) float32`` are the users' counters at those moments, ``scene_counts (U, 1 + tasks)``
        those in the scenes; without them the snapshot's count.
        """
        tables = self.tables(snapshot)
        kept, passed = tables.works.ids[history], tables.works.ids[skipped]
        lengths = np.log1p(np.stack([(history >= 0).sum(axis=1), (skipped >= 0).sum(axis=1)], axis=1))
        hours = np.asarray(time_ms) // HOUR_MS
        codes = self._scene_codes(scenes)
        context = np.stack([codes, hours % 24 + 1, (hours // 24 + 3) % 7 + 1], axis=1)
        numbers = self.users.numbers_at(tables.users, rows, time_ms, counts)
        if scene_counts is None:
            scene_counts = self.visits.counts(snapshot, rows, scenes)
        in_scene = self.visits.numbers(scene_counts, codes)
        return {
            "user_id": tables.people[rows],
            "user_ids": tables.users.ids[rows],
            "user_numbers": np.concatenate([numbers, lengths.astype(np.float32), in_scene], axis=1),
            "history": kept,
            "skipped": passed,
            "context": context,
            "alike": tables.alike[rows],
            "history_cowatch": tables.cowatch[history],
            "skipped_cowatch": tables.cowatch[skipped],
            **{name: self.works.code("creator_id", ids.ravel()).reshape(ids.shape) for name, ids in ties.items()},
        }

    def encode_items(
        self, snapshot: Snapshot, work_rows: Array, time_ms: int | Array, counts: Array | None = None
    ) -> dict[str, Array]:
        """The items' side: ``work_rows (N,)`` of the snapshot (−1: unknown, all 0) at one moment or ``(N,)`` moments.

        ``counts (N, 1 + labels) float32`` are the works' counters at those moments; without them the snapshot's count.
        """
        tables = self.tables(snapshot)
        return {
            "item_ids": tables.works.ids[work_rows],
            "item_numbers": self.works.numbers_at(tables.works, work_rows, time_ms, counts),
            "cowatch": tables.cowatch[work_rows],
        }

    def encode_crosses(self, user: Mapping[str, Array], items: Mapping[str, Array]) -> dict[str, Array]:
        """What user and item have in common (X features, see ``names``), from their codes alone.

        Of the user's history and skipped works, how many are like the item in each column, and how recent the newest;
        whether the user follows the creator or is a friend; whether they agree in the columns that both have; and how
        much those who watched the user's works watched the item (``karec.features.cowatch``).
        The user has one row, or as many as there are items. O(N·((H + S)·(I + D) + L)).
        """
        codes = items["item_ids"]
        matches = count_matches(user["history"], user["skipped"], codes)
        np.log1p(matches[:, :2], out=matches[:, :2])
        columns = self.works.category_names
        creator = codes[:, [columns.index("creator_id")]]
        shared = codes[:, [columns.index(name) for name in self._shared]]
        ties = [((user[name] == creator) & (creator > 0)).any(axis=1, keepdims=True) for name in TIES]
        parts = [matches.reshape(len(codes), -1), *ties, (user["alike"] == shared) & (shared > 0)]
        if self.cowatch is not None:
            parts.append(self.cowatch.crosses(user["history_cowatch"], user["skipped_cowatch"], items["cowatch"]))
        return {"crosses": np.concatenate(parts, axis=1, dtype=np.float32)}

    def dense(self, inputs: Mapping[str, Array]) -> Array:
        """Every input but the histories in one ``(N, F) float32``, for models over plain columns (trees, linear ones).

        Codes are their number, 0 where the model would read 0; being ordered by frequency they can be split on.
        """
        parts = [
            np.where(inputs[name] < np.array(self.sizes[name]), inputs[name], 0).astype(np.float32)
            for name in ("user_ids", "context", "item_ids")
        ]
        parts += [inputs[name] for name in ("user_numbers", "item_numbers", "crosses")]
        n = max(len(part) for part in parts)
        return np.concatenate([np.broadcast_to(part, (n, part.shape[1])) for part in parts], axis=1)

    def _scene_codes(self, scenes: Array) -> Array:
        codes = self.scenes.encode(scenes)
        return np.where(codes <= len(self.scenes), codes, 0)

    def _latest(self, snapshot: Snapshot, name: str, row: int) -> Array:
        """(1, H) work rows of the user's last works in a relation, newest first."""
        ids = _last_of(snapshot, name, row, self.history_length)
        return snapshot.works.lookup(ids[0]).reshape(1, -1)

    def save(self, path: Path) -> None:
        """One .npz with arrays and a JSON header; nothing in it is executed when it is loaded."""
        head = {
            "format": FORMAT,
            "tasks": self.tasks,
            "history_length": self.history_length,
            "users": self.users.head(),
            "works": self.works.head(),
            "visits": self.visits.head(),
        }
        arrays = {**self.users.arrays("users"), **self.works.arrays("works"), "scenes": self.scenes.keys}
        arrays |= {"people": self.people.keys} | ({} if self.cowatch is None else self.cowatch.arrays())
        with path.open("wb") as file:
            np.savez(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Raises BundleError when the file is not an encoder of this format."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                head: dict[str, Any] = json.loads(arrays["head"].tobytes())
                if head["format"] != FORMAT:
                    raise BundleError(f"{path}: encoder format {head['format']}, this version reads {FORMAT}")
                return cls(
                    tasks=tuple(head["tasks"]),
                    history_length=int(head["history_length"]),
                    users=TableCoder.restore(head["users"], arrays, "users"),
                    works=TableCoder.restore(head["works"], arrays, "works"),
                    visits=VisitCoder.restore(head["visits"]),
                    scenes=Vocabulary(arrays["scenes"]),
                    people=Vocabulary(arrays["people"]),
                    cowatch=CowatchVectors.restore(arrays) if "cowatch.works" in arrays else None,
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise BundleError(f"{path} is not an encoder: {error}") from error


def _last_of(snapshot: Snapshot, name: str, row: int, width: int) -> Array:
    """(1, width) int64: the last ids of a user's relation, newest first, −1 padded."""
    relation = snapshot.relations.get(name)
    if relation is None or row < 0:
        return np.full((1, width), -1, np.int64)
    return padded_histories(relation.values, relation.indptr[[row]], relation.indptr[[row + 1]], width)
