"""The platform at a moment: works, users, and what ties them together. Loaders make it, learning and recall read it.

On disk a snapshot is a folder of ``.npy`` files, memory-mapped when opened, so that ten processes share one copy:

    works/ids.npy  works/<column>.npy   users/…   visits/…   relations/<name>.{indptr,values,times}.npy   labels.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from karec._once import Once
from karec.errors import DataError
from karec.types import Array

WORK_COLUMNS = ("creator_id", "song_id", "type", "tag", "upload_ms")


@dataclass(frozen=True, eq=False)
class Table:
    """Rows keyed by unique int64 ids. Integer columns are categories (or ids, moments), floating ones numbers."""

    ids: Array
    columns: Mapping[str, Array]
    _order: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise ValueError(f"column {name!r} has {len(column)} rows, ids has {len(self.ids)}")
        order = np.argsort(self.ids, kind="stable")
        ordered = self.ids[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(repeated):
            raise ValueError(f"ids must be unique, {int(ordered[repeated[0]])} stands twice")
        object.__setattr__(self, "_order", order)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def take(self, selector: Array) -> Table:
        """The rows at ``selector`` (indices or a boolean mask)."""
        return Table(self.ids[selector], {name: column[selector] for name, column in self.columns.items()})

    def lookup(self, ids: Array) -> Array:
        """(N,) int64 row of each id, −1 = unknown. O(N log len)."""
        wanted = np.asarray(ids, dtype=np.int64)
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int64)
        at = np.searchsorted(self.ids, wanted, sorter=self._order)
        rows = self._order[np.minimum(at, len(self.ids) - 1)]
        return np.where(self.ids[rows] == wanted, rows, -1)


@dataclass(frozen=True, eq=False)
class Relation:
    """For each row of one table, a list of ids (CSR): ``values[indptr[r]:indptr[r+1]]``, oldest first.

    ``times`` (Unix ms, same length as values) where moments are known; 0 = before records began.
    """

    indptr: Array
    values: Array
    times: Array | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, row: int) -> Array:
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    @classmethod
    def from_pairs(cls, rows: Array, values: Array, n_rows: int, times: Array | None = None) -> Relation:
        """Group (row, value) pairs by row; within a row ordered by time, then by input order. O(M log M)."""
        order = np.argsort(rows, kind="stable") if times is None else np.lexsort((np.asarray(times), rows))
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])
        return cls(indptr, np.asarray(values, np.int64)[order], None if times is None else np.asarray(times)[order])


@dataclass(frozen=True, eq=False)
class Exposures:
    """M works that were shown, in order of time, with what the user did.

    ``user_id work_id (M,) int64``, ``time_ms (M,) int64``, ``scene (M,) int32``;
    ``labels`` {task: (M,) uint8} (click, long_view, like, …); ``play_ms (M,) int64``.
    """

    user_id: Array
    work_id: Array
    time_ms: Array
    scene: Array
    labels: Mapping[str, Array]
    play_ms: Array

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, selector: Array) -> Exposures:
        return Exposures(
            self.user_id[selector],
            self.work_id[selector],
            self.time_ms[selector],
            self.scene[selector],
            {task: label[selector] for task, label in self.labels.items()},
            self.play_ms[selector],
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Works, users and relations as of ``time_ms``.

    ``works`` has at least the columns creator_id, song_id, type, tag (categories) and upload_ms (Unix ms).
    ``relations`` may hold, per user row: ``history`` (work ids watched to satisfaction, the towers' history),
    ``skipped`` (work ids shown and passed over), ``liked`` (work ids), ``follows`` (creator ids), ``friends`` (users).
    ``labels`` names category codes for people: {"scene": ["home", …], "type": ["audio", "video"]}.
    ``visits`` has counters of each user in each of the S scenes that ``labels`` names, columns (users · S,) with user
    and scene at row user row · S + scene code; None where nothing was counted by scene.
    ``built`` holds what readers build from the snapshot (postings, orders): built once, shared, freed with it.
    """

    time_ms: int
    works: Table
    users: Table
    relations: Mapping[str, Relation]
    labels: Mapping[str, list[str]]
    visits: Mapping[str, Array] | None = None
    built: Once = field(default_factory=Once, init=False, repr=False)

    def __post_init__(self) -> None:
        missing = [name for name in WORK_COLUMNS if name not in self.works.columns]
        if missing:
            raise DataError(f"works lack the columns {missing}; a snapshot needs {list(WORK_COLUMNS)}")
        for name, column in (self.visits or {}).items():
            if len(column) != len(self.users) * self.n_scenes:
                raise DataError(
                    f"visits column {name!r} has {len(column)} rows, expected {len(self.users)} users × "
                    f"{self.n_scenes} scenes"
                )

    @property
    def n_scenes(self) -> int:
        """How many scenes ``labels`` names."""
        return len(self.labels.get("scene", ()))

    def visit_rows(self, user_rows: Array, scenes: Array) -> Array:
        """(N,) int64 rows of ``visits``; −1 for the user row −1 and for a scene code that ``labels`` does not name."""
        known = (user_rows >= 0) & (scenes >= 0) & (scenes < self.n_scenes)
        return np.where(known, user_rows * self.n_scenes + scenes, -1)

    def released(self) -> Snapshot:
        """The same platform without the works that are uploaded only after its moment: what can be recommended."""
        return replace(self, works=self.works.take(np.asarray(self.works["upload_ms"]) <= self.time_ms))

    def save(self, folder: Path) -> None:
        for name, table in (("works", self.works), ("users", self.users)):
            _save_columns(folder / name, {"ids": table.ids, **table.columns})
        if self.visits is not None:
            _save_columns(folder / "visits", self.visits)
        (folder / "relations").mkdir()
        for name, relation in self.relations.items():
            np.save(folder / "relations" / f"{name}.indptr.npy", relation.indptr)
            np.save(folder / "relations" / f"{name}.values.npy", relation.values)
            if relation.times is not None:
                np.save(folder / "relations" / f"{name}.times.npy", relation.times)
        (folder / "labels.json").write_text(json.dumps({"time_ms": self.time_ms, "labels": dict(self.labels)}))

    @classmethod
    def open(cls, folder: Path) -> Snapshot:
        try:
            head = json.loads((folder / "labels.json").read_text())
            relations = {
                path.name.removesuffix(".indptr.npy"): path for path in (folder / "relations").glob("*.indptr.npy")
            }
            return cls(
                time_ms=int(head["time_ms"]),
                works=_open_table(folder / "works"),
                users=_open_table(folder / "users"),
                relations={name: _open_relation(path.parent, name) for name, path in sorted(relations.items())},
                labels=head["labels"],
                visits=_open_columns(folder / "visits") if (folder / "visits").is_dir() else None,
            )
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder} is not a snapshot: {error}") from error


def _save_columns(folder: Path, columns: Mapping[str, Array]) -> None:
    folder.mkdir(parents=True)
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", values)


def _load(path: Path) -> Array:
    loaded: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded


def _open_columns(folder: Path) -> dict[str, Array]:
    return {path.stem: _load(path) for path in sorted(folder.glob("*.npy")) if path.stem != "ids"}


def _open_table(folder: Path) -> Table:
    return Table(_load(folder / "ids.npy"), _open_columns(folder))


def _open_relation(folder: Path, name: str) -> Relation:
    times = folder / f"{name}.times.npy"
    return Relation(
        _load(folder / f"{name}.indptr.npy"),
        _load(folder / f"{name}.values.npy"),
        _load(times) if times.exists() else None,
    )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A snapshot as of the first exposure, the exposures that follow, and where time splits them.

    train: time < train_until_ms ≤ validation < valid_until_ms ≤ test. ``tasks`` are the labels worth learning, the
    first being the main one.
    """

    name: str
    snapshot: Snapshot
    exposures: Exposures
    train_until_ms: int
    valid_until_ms: int
    tasks: tuple[str, ...]

    def split(self) -> tuple[Exposures, Exposures, Exposures]:
        """(train, validation, test), each in order of time."""
        time = self.exposures.time_ms
        train, valid = time < self.train_until_ms, time < self.valid_until_ms
        return self.exposures.take(train), self.exposures.take(~train & valid), self.exposures.take(~valid)
