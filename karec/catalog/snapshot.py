"""Snapshot of the platform: items, users, relations and counters at one time.

On disk a snapshot is a folder of ``.npy`` files. They are memory-mapped, so that processes share one copy:

    snapshot.json                                  {"format": 1, "time_ms": …, "labels": {…}, "meaning": {…}}
    works/ids.npy  works/<column>.npy              users/ has the same files
    user_scene_counters/<counter>.npy              optional
    relations/<name>.{indptr,values,times,scenes}.npy      times and scenes are optional
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from karec.catalog.once import Once
from karec.catalog.relation import Relation
from karec.catalog.schema import LATEST_MS, MAX_VECTOR, PUBLISHED, Meaning
from karec.catalog.table import Table
from karec.errors import DataError
from karec.files import add_path_to_errors, map_npy, read_json, to_struct

T = TypeVar("T")
MeaningTable = dict[Literal["enjoyed", "liked", "followed", "consumed", "drawn"], tuple[str, ...]]

_ALWAYS_WRITTEN = ("enjoyed", "liked", "followed")  # a snapshot without the other meanings keeps its bytes
FORMAT: Literal[1] = 1
HEAD = "snapshot.json"
_RELATION = re.compile(r"(.+)\.(indptr|values|times|scenes)\.npy")
COUNTERS = "user_scene_counters"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Items, users and relations at ``time_ms``, Unix milliseconds.

    works, users         tables with the columns of ``karec.catalog.schema``
    relations            lists of ids for each user row: ``history`` (items enjoyed), ``skipped`` (items),
                         ``liked`` (items), ``follows`` (creators), ``consumed`` (items), ``friends`` (users);
                         each is optional
    labels               names of category codes: {"scene": ["home", …], "type": ["audio", "video"]}
    meaning              labels that mean enjoyed, liked, followed
    user_scene_counters  {counter: (users · S,) float32} in the S scenes of ``labels``; row = user row · S +
                         scene code. None: nothing was counted by scene
    item_type            type of the items in ``works``, "" for works. It is not stored
    built                cache of values that readers build from the snapshot (postings, orders)

    Raises DataError for relations or counters of another number of users.
    """

    time_ms: int
    works: Table
    users: Table
    relations: Mapping[str, Relation]
    labels: Mapping[str, list[str]]
    user_scene_counters: Mapping[str, NDArray[Any]] | None = None
    meaning: Meaning = field(default_factory=Meaning)
    item_type: str = ""
    built: Once = field(default_factory=Once, init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.users)
        for name, relation in self.relations.items():
            if len(relation) != n:
                raise DataError(
                    f"relation {name!r} has {len(relation)} rows, expected one for each of {n} users"
                )
        for name, column in (self.user_scene_counters or {}).items():
            if len(column) != n * self.n_scenes:
                raise DataError(
                    f"{COUNTERS} column {name!r} has {len(column)} rows, expected {n} users × "
                    f"{self.n_scenes} scenes"
                )

    @property
    def n_scenes(self) -> int:
        """The number of scenes in ``labels``."""
        return len(self.labels.get("scene", ()))

    @property
    def published_ms(self) -> NDArray[Any]:
        """(works,) int64: time of publication, ≤ 0 if unknown."""
        columns = self.works.columns
        return np.asarray(columns[PUBLISHED]) if PUBLISHED in columns else np.zeros(len(self.works), np.int64)

    def user_scene_rows(self, user_rows: NDArray[Any], scenes: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 rows of ``user_scene_counters``, −1 for user row −1 and unknown scenes."""
        is_known = (user_rows >= 0) & (scenes >= 0) & (scenes < self.n_scenes)
        return np.where(is_known, user_rows * self.n_scenes + scenes, -1)

    def drop_unpublished(self) -> Snapshot:
        """Returns the snapshot without items that are published after its time."""
        return replace(self, works=self.works.take(self.published_ms <= self.time_ms))

    def take_users(self, is_kept: NDArray[Any]) -> Snapshot:
        """Returns the snapshot with only the users of the mask ``is_kept`` (users,). Items do not change."""
        counters, by_scene = self.user_scene_counters, np.repeat(is_kept, self.n_scenes)
        return replace(
            self,
            users=self.users.take(is_kept),
            relations={name: relation.take_rows(is_kept) for name, relation in self.relations.items()},
            user_scene_counters=counters and {name: column[by_scene] for name, column in counters.items()},
        )

    def save(self, folder: Path) -> None:
        """Writes the files into ``folder``, a new folder or one without a snapshot."""
        for name, table in (("works", self.works), ("users", self.users)):
            save_columns(folder / name, {"ids": table.ids, **table.columns})
        if self.user_scene_counters is not None:
            save_columns(folder / COUNTERS, self.user_scene_counters)
        save_relations(folder / "relations", self.relations)
        head = {
            "format": FORMAT,
            "time_ms": self.time_ms,
            "labels": dict(self.labels),
            "meaning": meaning_to_dict(self.meaning),
        }
        with add_path_to_errors(folder / HEAD):
            (folder / HEAD).write_text(json.dumps(head))

    @classmethod
    def open(cls, folder: Path) -> Snapshot:
        """Memory-maps the files of ``folder``. O(rows of ids and lists).

        Dtypes, lengths, ids and the bounds of lists are checked, other values are not.

        Raises DataError if the folder has no snapshot, a damaged one, or one of another format.
        """
        try:
            head = _read_head(folder)
            counters = folder / COUNTERS
            return cls(
                time_ms=head.time_ms,
                works=open_table(folder / "works"),
                users=open_table(folder / "users"),
                relations=open_relations(folder / "relations"),
                labels=head.labels,
                user_scene_counters=_open_columns(counters) if counters.is_dir() else None,
                meaning=Meaning(**head.meaning),
            )
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} is not a snapshot: {error}") from error


class _Head(Struct):
    format: Literal[1]
    time_ms: Annotated[int, Meta(ge=0, le=LATEST_MS)]
    labels: dict[str, list[str]]
    meaning: MeaningTable


def _read_head(folder: Path) -> _Head:
    path = folder / HEAD
    if not path.exists():
        raise DataError(f"{folder} is not a snapshot: it has no {HEAD}")

    def read(path: Path) -> _Head:
        head = read_json(path)
        version = head.get("format") if isinstance(head, dict) else None
        if version != FORMAT:
            raise ValueError(f"snapshot format {str(version)[:60]}, expected {FORMAT}. Publish it again")
        return to_struct(head, _Head)

    return read_stored(path, read)


def meaning_to_dict(meaning: Meaning) -> dict[str, tuple[str, ...]]:
    """Returns the entry of a head for ``meaning``, a ``MeaningTable``."""
    return {name: labels for name, labels in asdict(meaning).items() if labels or name in _ALWAYS_WRITTEN}


def save_columns(folder: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    folder.mkdir(parents=True)
    for name, values in columns.items():
        _save(folder / f"{name}.npy", values)


def save_relations(folder: Path, relations: Mapping[str, Relation]) -> None:
    folder.mkdir()
    for name, relation in relations.items():
        _save(folder / f"{name}.indptr.npy", relation.indptr)
        _save(folder / f"{name}.values.npy", relation.values)
        for part, entries in (("times", relation.times), ("scenes", relation.scenes)):
            if entries is not None:
                _save(folder / f"{name}.{part}.npy", entries)


def _save(path: Path, values: NDArray[Any]) -> None:
    """Writes an array through an object with ``write``: into a file NumPy loses the reason of an error."""
    with add_path_to_errors(path), path.open("xb") as file:
        np.save(SimpleNamespace(write=file.write), values, allow_pickle=False)


def read_stored(path: Path, reader: Callable[[Path], T]) -> T:
    """Returns ``reader(path)``. Raises DataError with the path in place of OSError and ValueError."""
    try:
        return reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _load(path: Path, *, is_column: bool = False) -> NDArray[Any]:
    array = read_stored(path, map_npy)
    is_vector = is_column and array.ndim == 2 and array.dtype == np.float32
    if array.ndim != 1 and not (is_vector and 1 <= array.shape[1] <= MAX_VECTOR):
        raise DataError(f"{path} has shape {array.shape}, expected one value for each row")
    return array


def _load_ids(path: Path) -> NDArray[Any]:
    array = _load(path)
    if array.dtype != np.int64:
        raise DataError(f"{path} is of {array.dtype}, expected int64")
    return array


def _open_columns(folder: Path) -> dict[str, NDArray[Any]]:
    paths = (path for path in sorted(folder.glob("*.npy")) if path.stem != "ids")
    return {path.stem: _load(path, is_column=True) for path in paths}


def open_table(folder: Path) -> Table:
    ids, columns = _load_ids(folder / "ids.npy"), _open_columns(folder)
    return read_stored(folder, lambda _: Table(ids, columns))


def open_relations(folder: Path) -> dict[str, Relation]:
    """Opens relations by name. Raises DataError for a relation without all required parts."""
    parts = (_RELATION.fullmatch(path.name) for path in folder.glob("*.npy"))
    return {name: open_relation(folder, name) for name in sorted({part[1] for part in parts if part})}


def open_relation(folder: Path, name: str) -> Relation:
    """Opens the relation ``name``. Raises DataError if it lacks a required part."""
    indptr, values = (_load_ids(folder / f"{name}.{part}.npy") for part in ("indptr", "values"))
    paths = (folder / f"{name}.{part}.npy" for part in ("times", "scenes"))
    times, scenes = (_load(path) if path.exists() else None for path in paths)
    return read_stored(folder / f"{name}.indptr.npy", lambda _: Relation(indptr, values, times, scenes))
