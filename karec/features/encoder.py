"""Encodes users, items and their crosses as model inputs. Training and serving use the same encoder.

It reads the columns of a snapshot by the rules of ``karec.catalog.schema``: a category becomes a code, a
moment its age, and counters a log count and a smoothed rate for each label, of the user and of the user in
the scene of the request. The id of an item is its first category.

Codes: 0 is missing, unknown or padding. 1 … K are the values with at least ``min_count`` occurrences in
training, most frequent first. Every other value has its own code ≥ FIRST_UNSEEN, so that a song that is too
rare for an embedding can still be found in a history. Models read codes above K as 0.

Items of other types than works: ``karec.features.item_types``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karec import _native
from karec.aggregates.id_lists import Lists
from karec.catalog.impressions import Impressions
from karec.catalog.once import computed_once
from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.affinities import LIST_LENGTH, AffinityPriors
from karec.features.cowatch import CowatchVectors
from karec.features.crosses import MAX_EDGES, SOCIAL_EDGES, CrossFeatures
from karec.features.encoded_snapshot import (
    EncodedSnapshot,
    EncodingCache,
    select_rows,
    take_rows,
    take_vectors,
)
from karec.features.item_types import ItemTypeHead, item_type_coder
from karec.features.scene_counters import SceneCounterCoder, SceneCounterHead
from karec.features.table import TableCoder, TableHead, check_names
from karec.features.vocabulary import Vocabulary, build_vocabulary, encode_known, read_vocabulary, recode
from karec.files import file_aside, parse_json, read_json, read_npz, to_struct
from karec.times import HOUR_MS

CONTEXT = ("scene", "hour", "weekday")
CONTENT = "item_content"
LENGTHS = ("log_history", "log_skipped")
USER_SIDE = (  # outputs of encode_users
    *("user_id", "user_ids", "user_numbers", "history", "skipped", "context"),
    *("alike", "history_cowatch", "skipped_cowatch", "affinity_history", "affinity_skipped", *SOCIAL_EDGES),
)
MAX_HISTORY = 100_000  # slots of a stored encoder; each request has as many rows of the user
FORMAT = 1


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """The head of a stored encoder: all but its arrays."""

    format: int
    tasks: tuple[str, ...]
    history_length: Annotated[int, msgspec.Meta(ge=1, le=MAX_HISTORY)]
    users: TableHead
    works: TableHead
    scene_counters: SceneCounterHead
    has_positions: bool = False
    item_types: tuple[ItemTypeHead, ...] = ()

    def __post_init__(self) -> None:
        check_names("tasks", self.tasks)
        check_names("item_types", tuple(item_type.name for item_type in self.item_types))
        if not self.works.own_id:
            raise ValueError("works.own_id is false, expected true")


@dataclass(frozen=True, eq=False)
class Encoder:
    """Encodes the inputs of all models, by name. Any number of threads may call.

    For U users and N items, H history slots and I item categories:

    user_id (U, 1) int64            code of the user
    user_ids (U, ·) int64           codes of the user's categories
    user_numbers (U, ·) float32
    history, skipped (U, H, I)      item_ids of these items, newest first, padded with 0
    context (U, 3) int64            scene, hour and weekday (UTC)
    item_ids (N, I) int64
    item_numbers (N, ·) float32
    item_content (N, ·) float32     only if items have own vectors; zeros for a missing one
    crosses (N, ·) float32

    Only the crosses read the others: follows, friends (U, MAX_EDGES) int64, codes of creators; alike (U, P)
    int64, values of the user in the categories that items have too, in codes of items; history_cowatch,
    skipped_cowatch (U, H) and cowatch (N,) int64, rows of ``cowatch.all_vectors``; affinity_history,
    affinity_skipped (U, LIST_LENGTH, I) int64 like history, (U, 0, I) without affinities.
    """

    tasks: tuple[str, ...]
    history_length: int
    users: TableCoder
    works: TableCoder
    scene_counters: SceneCounterCoder
    scenes: Vocabulary
    people: Vocabulary
    cowatch: CowatchVectors | None = None
    affinities: AffinityPriors | None = None
    has_positions: bool = False
    item_types: tuple[ItemTypeHead, ...] = ()
    _encoded: EncodingCache = field(default_factory=EncodingCache, init=False, repr=False)

    @classmethod
    def fit(
        cls,
        snapshot: Snapshot,
        exposures: Impressions,
        tasks: Sequence[str],
        *,
        history_length: int = 30,
        min_count: int = 5,
        user_min_count: int = 5,
        cowatch: CowatchVectors | None = None,
        item_types: Sequence[ItemTypeHead] = (),
    ) -> Encoder:
        """Fits vocabularies, number scales and prior rates to training ``exposures`` after ``snapshot``.

        It reads columns that do not change with time, and means of labels: no single row's future enters.

        Raises:
            ValueError: a task without labels or with labels of one class, no impression of a known user and
                item, or no label that means enjoyed.
        """
        missing = [task for task in tasks if task not in exposures.labels]
        if missing:
            raise ValueError(f"tasks {missing} have no label; the exposures have {sorted(exposures.labels)}")
        if min(history_length, min_count, user_min_count) <= 0:
            raise ValueError(
                f"history_length, min_count and user_min_count must be positive, got {history_length}, "
                f"{min_count} and {user_min_count}"
            )
        user_rows = snapshot.users.lookup(exposures.user_id)
        work_rows = snapshot.works.lookup(exposures.work_id)
        is_known = (user_rows >= 0) & (work_rows >= 0)
        if not is_known.any():
            raise ValueError(
                f"none of the {len(exposures)} exposures names a user and a work that the snapshot holds"
            )
        rates = {label: float(values[is_known].mean()) for label, values in exposures.labels.items()}
        for task in tasks:
            if rates[task] in (0.0, 1.0):
                raise ValueError(
                    f"task {task!r}: all {int(is_known.sum())} labels are {rates[task]:.0f}, of one class"
                )
        time = exposures.time_ms[is_known]
        scenes = build_vocabulary(exposures.scene[is_known], 1)
        labels = {task: exposures.labels[task][is_known] for task in tasks}
        works = TableCoder.fit(snapshot.works, work_rows[is_known], time, rates, min_count, own_id=True)
        known = exposures.take(is_known)
        return cls(
            tasks=tuple(tasks),
            history_length=history_length,
            users=TableCoder.fit(snapshot.users, user_rows[is_known], time, rates, min_count, own_id=False),
            works=works,
            scene_counters=SceneCounterCoder.fit(
                snapshot, scenes.encode(exposures.scene[is_known]), len(scenes), labels
            ),
            scenes=scenes,
            people=build_vocabulary(exposures.user_id[is_known], user_min_count),
            cowatch=cowatch,
            affinities=AffinityPriors.fit(
                works.encode_ids(snapshot.works)[work_rows[is_known]],
                works.vocabularies,
                snapshot.meaning.is_enjoyed(known.labels),
                has_skipped=bool(snapshot.meaning.is_skipped(known.labels).any()),
            ),
            has_positions=exposures.position is not None and bool((exposures.position > 1).any()),
            item_types=tuple(item_types),
        )

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """For user_id, user_ids, item_ids and context: K + 1 of each column, the codes that an embedding
        needs. The ids of items also have a code for each of ``item_types``, the last ones."""
        id_size, *category_sizes = self.works.sizes
        return {
            "user_id": (len(self.people) + 1,),
            "user_ids": self.users.sizes,
            "item_ids": (id_size + len(self.item_types), *category_sizes),
            "context": (len(self.scenes) + 1, 25, 8),
        }

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the columns of each input."""
        return {
            "user_id": ("id",),
            "user_ids": self.users.category_names,
            "user_numbers": (*self.users.number_names, *LENGTHS, *self.scene_counters.number_names),
            "context": CONTEXT,
            "item_ids": self.works.category_names,
            "item_numbers": self.works.number_names,
            "crosses": self._crosses.names,
        }

    @property
    def cross_categories(self) -> tuple[str | None, ...]:
        """For each cross feature the category whose code is all that it reads of an item, else None."""
        return self._crosses.item_categories

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """{input: (dtype, shape of one row)} of all inputs that a model may read."""
        n = {name: len(columns) for name, columns in self.names.items()}
        lists = (self.history_length, n["item_ids"])
        codes: dict[str, tuple[int, ...]] = {
            name: (n[name],) for name in ("user_id", "user_ids", "context", "item_ids")
        }
        codes |= {"history": lists, "skipped": lists, "alike": (len(self.shared),), "cowatch": ()}
        codes |= dict.fromkeys(("history_cowatch", "skipped_cowatch"), (self.history_length,))
        affinity_length = 0 if self.affinities is None else LIST_LENGTH
        codes |= dict.fromkeys(("affinity_history", "affinity_skipped"), (affinity_length, n["item_ids"]))
        codes |= dict.fromkeys(SOCIAL_EDGES, (MAX_EDGES,))
        numbers = {name: (n[name],) for name in ("user_numbers", "item_numbers", "crosses")}
        numbers |= {CONTENT: (self.works.vector_width,)} if self.works.vectors else {}
        numbers |= {"dense": (sum(n.values()) - n["user_id"],)}
        return {
            **{k: ("int64", v) for k, v in codes.items()},
            **{k: ("float32", v) for k, v in numbers.items()},
        }

    @property
    def list_length(self) -> int:
        """The newest items of history and skipped that ``encode_users`` reads."""
        return self.history_length if self.affinities is None else max(self.history_length, LIST_LENGTH)

    @computed_once
    def shared(self) -> tuple[str, ...]:
        """The categories that users and items have by the same name."""
        return tuple(name for name in self.works.categories if name in self.users.categories)

    @property
    def descriptions(self) -> dict[str, Any]:
        """The inputs of users and items, {column: in words}, and the names of the crosses."""
        return {
            "users": self.users.descriptions,
            "works": self.works.descriptions,
            "crosses": list(self._crosses.names),
        }

    @computed_once
    def _crosses(self) -> CrossFeatures:
        return CrossFeatures(
            self.works.category_names, self.shared, self.cowatch, self.affinities, self.has_positions
        )

    def tables(self, snapshot: Snapshot) -> EncodedSnapshot:
        """Returns the encoded snapshot. O(rows) in the first call; it is kept while the snapshot lives."""
        return self._encoded.get(snapshot, self._encode)

    def _encode(self, snapshot: Snapshot) -> EncodedSnapshot:
        coder, cowatch = self.item_coder(snapshot), self.cowatch
        if snapshot.item_type:  # its users are encoded with the works, and its ids may be those of works too
            no_users = snapshot.users.take(np.empty(0, np.int64))
            snapshot = replace(snapshot, users=no_users, relations={}, user_scene_counters=None)
            cowatch = None
        self.scene_counters.check(snapshot)
        return EncodedSnapshot.from_snapshot(snapshot, self.users, coder, self.shared, self.people, cowatch)

    def item_coder(self, snapshot: Snapshot) -> TableCoder:
        """Returns the coder of the items of ``snapshot``, works or one of ``item_types``.

        Raises ValueError for another item type.
        """
        return self._item_coders[self._known_type(snapshot.item_type)]

    def labels_of(self, item_type: str) -> tuple[str, ...]:
        """Returns the label of each task on items of ``item_type``, "" for works. Raises ValueError."""
        known = self._known_type(item_type)
        return self.tasks if not known else self._heads[known].labels_of(len(self.tasks))

    @property
    def learned_labels(self) -> dict[str, tuple[str, ...]]:
        """{item type other than works: its distinct labels in the places of the tasks}."""
        return {head.name: head.labels[: len(self.tasks)] for head in self.item_types}

    def _known_type(self, item_type: str) -> str:
        if item_type and item_type not in self._heads:
            raise ValueError(
                f"the encoder has learned the item types {list(self._heads)}, not {item_type!r}. Train on "
                "impressions of this type."
            )
        return item_type

    @computed_once
    def _heads(self) -> dict[str, ItemTypeHead]:
        return {item_type.name: item_type for item_type in self.item_types}

    @computed_once
    def _item_coders(self) -> dict[str, TableCoder]:
        codes = range(self.works.sizes[0], self.sizes["item_ids"][0])
        coders = {
            head.name: item_type_coder(self.works, self.tasks, head, code)
            for head, code in zip(self.item_types, codes, strict=True)
        }
        return {"": self.works, **coders}

    def encode_user(
        self, snapshot: Snapshot, user_id: int, time_ms: int, scene_code: int
    ) -> dict[str, NDArray[Any]]:
        """Encodes the user of one request. An unknown user has codes 0, mean numbers and no history."""
        row = int(snapshot.users.lookup(np.array([user_id]))[0])
        history, skipped = (
            _latest(snapshot, name, row, self.list_length)[0] for name in ("history", "skipped")
        )
        return self.encode_users(
            snapshot,
            np.array([row]),
            np.array([time_ms]),
            np.array([scene_code]),
            history=snapshot.works.lookup(history)[None],
            skipped=snapshot.works.lookup(skipped)[None],
            edges={name: _latest(snapshot, name, row, MAX_EDGES) for name in SOCIAL_EDGES},
        )

    def encode_users(
        self,
        snapshot: Snapshot,
        rows: NDArray[Any],
        time_ms: NDArray[Any],
        scenes: NDArray[Any],
        *,
        history: NDArray[Any],
        skipped: NDArray[Any],
        edges: Mapping[str, NDArray[Any]],
        counts: NDArray[Any] | None = None,
        scene_counts: NDArray[Any] | None = None,
        more: Snapshot | None = None,
        as_of_ms: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Encodes the users of U requests.

        Args:
            rows, time_ms, scenes: (U,) rows of users, times and codes of scenes.
            history, skipped: (U, list_length) rows of items, newest first, padded with −1.
            edges: {follows, friends: (U, L)} ids of creators, padded with −1.
            counts: (U, 1 + labels) float32 counters of the users at these times. None: of the snapshot.
            scene_counts: (U, 1 + tasks) float32 counters in the scenes. None: of the snapshot.
            more: further items, whose rows follow those of the snapshot.
            as_of_ms: (U,) training rows use only events before these times. None: all events.
        """
        tables, more_tables = self.tables(snapshot), None if more is None else self.tables(more)
        more_ids, more_cowatch = (
            (None, None) if more_tables is None else (more_tables.works.ids, more_tables.cowatch)
        )
        history_ids, skipped_ids = (
            take_rows(tables.works.ids, more_ids, items) for items in (history, skipped)
        )
        history, skipped = history[:, : self.history_length], skipped[:, : self.history_length]
        newest = 0 if self.affinities is None else LIST_LENGTH
        lengths = np.stack([_native.log1p((items >= 0).sum(axis=1)) for items in (history, skipped)], axis=1)
        hours = np.asarray(time_ms) // HOUR_MS
        codes = encode_known(self.scenes, scenes)
        context = np.stack([codes, hours % 24 + 1, (hours // 24 + 3) % 7 + 1], axis=1)
        numbers = self.users.compute_numbers(tables.users, rows, time_ms, counts)
        if scene_counts is None:
            scene_counts = self.scene_counters.read_counts(snapshot, rows, scenes)
        scene_numbers = self.scene_counters.scale(scene_counts, codes)
        return {
            "user_id": tables.people[rows],
            "user_ids": tables.users.ids[rows],
            "user_numbers": np.concatenate([numbers, lengths.astype(np.float32), scene_numbers], axis=1),
            "history": np.ascontiguousarray(history_ids[:, : self.history_length]),
            "skipped": np.ascontiguousarray(skipped_ids[:, : self.history_length]),
            "affinity_history": np.ascontiguousarray(history_ids[:, :newest]),
            "affinity_skipped": np.ascontiguousarray(skipped_ids[:, :newest]),
            "context": context,
            "alike": tables.alike[rows],
            "history_cowatch": self._cowatch_rows(take_rows(tables.cowatch, more_cowatch, history), as_of_ms),
            "skipped_cowatch": self._cowatch_rows(take_rows(tables.cowatch, more_cowatch, skipped), as_of_ms),
            **{name: self._encode_creators(ids) for name, ids in edges.items()},
        }

    def _encode_creators(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns codes of creators in the shape of ``ids``, 0 if items have no creators."""
        if CREATOR not in self.works.categories:
            return np.zeros(ids.shape, np.int64)
        return self.works.encode_category(CREATOR, ids.ravel()).reshape(ids.shape)

    def _cowatch_rows(self, codes: NDArray[Any], as_of_ms: NDArray[Any] | None) -> NDArray[Any]:
        if self.cowatch is None or as_of_ms is None:
            return codes
        return self.cowatch.rows_before(codes, as_of_ms)

    def encode_items(
        self,
        snapshot: Snapshot,
        work_rows: NDArray[Any],
        time_ms: int | NDArray[Any],
        counts: NDArray[Any] | None = None,
        more: Snapshot | None = None,
        as_of_ms: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Encodes N items.

        Args:
            work_rows: (N,) rows of the snapshot; an unknown item, −1, has all inputs 0.
            time_ms: one time or (N,).
            counts: (N, 1 + labels) float32 counters of the items at these times. None: of the snapshot.
            more, as_of_ms: see ``encode_users``.
        """
        tables, more_tables = self.tables(snapshot), None if more is None else self.tables(more)
        works = (
            tables.works if more_tables is None else select_rows(tables.works, more_tables.works, work_rows)
        )
        rows = work_rows if more_tables is None else np.where(work_rows < 0, -1, np.arange(len(work_rows)))
        content = {}
        if self.works.vectors:
            others = None if more_tables is None else more_tables.works
            content = {CONTENT: take_vectors(tables.works, others, work_rows)}
        return {
            **content,
            "item_ids": take_rows(works.ids, None, rows),
            "item_numbers": self.item_coder(snapshot).compute_numbers(works, rows, time_ms, counts),
            "cowatch": self._cowatch_rows(
                take_rows(tables.cowatch, None if more_tables is None else more_tables.cowatch, work_rows),
                as_of_ms,
            ),
        }

    def encode_crosses(
        self,
        user: Mapping[str, NDArray[Any]],
        items: Mapping[str, NDArray[Any]],
        position: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Encodes crosses (N, X) float32. The user has one row, or one for each item.

        ``position``: (N,) of rows that a model learns from, 1 = first, 0 = unknown. None: all are unknown.
        """
        return {"crosses": self._crosses.compute(user, items, position)}

    def encode_tables(
        self, user: Mapping[str, NDArray[Any]], weights: _native.CrossWeights, categories: Sequence[str]
    ) -> list[tuple[NDArray[np.uint32], NDArray[np.float32], float]]:
        """Returns (codes, values, other) for each of ``categories``, see ``karec.features.cross_tables``."""
        return self._crosses.compute_tables(user, weights, categories)

    def item_codes(
        self, snapshot: Snapshot, rows: NDArray[Any], categories: Sequence[str]
    ) -> dict[str, NDArray[np.uint32]]:
        """Returns {category: (N,) codes} of the items in ``rows (N,)`` for the code columns of an index.

        Known values have their code. Others have 2³¹ + 31 bits of theirs: an unseen value in a user's lists
        and one of a candidate are taken for each other with a probability of 2⁻³¹.
        """
        ids = self.tables(snapshot).works.ids if len(categories) else np.empty((0, 0), np.int64)
        names = self.works.category_names
        return {name: _native.code32(ids[rows, names.index(name)]) for name in categories}

    def dense(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns all inputs but the histories as (N, F) float32, for trees and linear models.

        Codes that models read as 0 are 0. The others are ordered by frequency, so that a tree can split them.
        """
        parts = [
            np.where(inputs[name] < np.array(self.sizes[name]), inputs[name], 0).astype(np.float32)
            for name in ("user_ids", "context", "item_ids")
        ]
        parts += [inputs[name] for name in ("user_numbers", "item_numbers", "crosses")]
        n = max(len(part) for part in parts)
        return np.concatenate([np.broadcast_to(part, (n, part.shape[1])) for part in parts], axis=1)

    def for_serving(self) -> Encoder:
        """Returns the encoder without co-watch vectors of past moments, which only training rows read."""
        return self if self.cowatch is None else replace(self, cowatch=self.cowatch.newest())

    def with_codes(
        self, names: Mapping[str, Sequence[str]], new_names: Mapping[str, Sequence[str]]
    ) -> Encoder:
        """Returns the encoder for data whose category codes are those of ``new_names``, not of ``names``.

        Both are {column: names by code}, as in ``Snapshot.labels``. Names of data files are sorted, so a new
        name moves the codes of others.
        """

        def recode_column(keys: Vocabulary, column: str) -> Vocabulary:
            has_names = column in names and column in new_names
            return recode(keys, names[column], new_names[column]) if has_names else keys

        coders = {}
        for table, coder in (("users", self.users), ("works", self.works)):
            columns = zip(coder.vocabularies, coder.category_names, strict=True)
            coders[table] = replace(coder, vocabularies=tuple(recode_column(*column) for column in columns))
        return replace(
            self, scenes=recode_column(self.scenes, "scene"), users=coders["users"], works=coders["works"]
        )

    def save(self, path: Path) -> None:
        """Writes an .npz file of ``to_arrays``. Loading it executes no code."""
        with file_aside(path) as file:
            np.savez(file, **self.to_arrays())  # type: ignore[arg-type]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Returns all arrays by name, and a JSON head as bytes."""
        head = Head(
            FORMAT,
            self.tasks,
            self.history_length,
            self.users.to_head(),
            self.works.to_head(),
            self.scene_counters.to_head(),
            self.has_positions,
            self.item_types,
        )
        arrays = {
            "head": np.frombuffer(json.dumps(msgspec.to_builtins(head)).encode(), np.uint8),
            **self.users.to_arrays("users"),
            **self.works.to_arrays("works"),
            "scenes": self.scenes.keys,
            "people": self.people.keys,
        }
        for part in (self.cowatch, self.affinities):
            arrays |= {} if part is None else part.to_arrays()
        return arrays

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Reads an encoder. Raises BundleError for a damaged file or one of another format."""
        try:
            arrays = read_npz(path)
            if "head" not in arrays:
                raise ValueError("it lacks the table 'head'")
            return cls._from_head(_read_head(arrays["head"].tobytes()), arrays)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} is not an encoder: {error}") from error

    @classmethod
    def _from_head(cls, head: Head, arrays: Mapping[str, NDArray[Any]]) -> Encoder:
        scenes = read_vocabulary(arrays, "scenes")
        works = TableCoder.from_head(head.works, arrays, "works")
        return cls(
            tasks=head.tasks,
            history_length=head.history_length,
            users=TableCoder.from_head(head.users, arrays, "users"),
            works=works,
            scene_counters=SceneCounterCoder.from_head(head.scene_counters, len(scenes)),
            scenes=scenes,
            people=read_vocabulary(arrays, "people"),
            cowatch=CowatchVectors.from_arrays(arrays) if "cowatch.works" in arrays else None,
            affinities=AffinityPriors.from_arrays(arrays, works.vocabularies),
            has_positions=head.has_positions,
            item_types=head.item_types,
        )


def read_run_encoder(run: Path, snapshot: Snapshot) -> Encoder:
    """Returns the encoder of ``run`` in the category codes of ``snapshot``, perhaps of newer data."""
    encoder = Encoder.load(run / "encoder.npz")
    if not (run / "run.json").exists():  # models of other trainings have none
        return encoder
    names = read_json(run / "run.json").get("data", {}).get("categories", {})
    return encoder.with_codes(names, snapshot.labels)


def _read_head(text: bytes) -> Head:
    """Raises ValueError that names a wrong value."""
    head = parse_json(text)
    version = head.get("format") if isinstance(head, dict) else None
    if version != FORMAT:
        raise ValueError(f"encoder format {str(version)[:60]}, expected {FORMAT}. Train and publish again")
    return to_struct(head, Head)


def _latest(snapshot: Snapshot, name: str, row: int, width: int) -> NDArray[Any]:
    """Returns (1, width) int64, the last ids of a user's relation, newest first, padded with −1.

    The list of row −1 is empty.
    """
    relation = snapshot.relations.get(name) if row >= 0 else None
    return Lists.from_relation(relation, np.array([row])).latest(width)
