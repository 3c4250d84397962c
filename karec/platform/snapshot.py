"""The platform at a moment: works, users, relations and counters. Loaders make it; learning and recall read it.

On disk a snapshot is a folder of ``.npy`` files, memory-mapped when it is opened, so that processes share one copy:

    snapshot.json                                  {"format": 3, "time_ms": …, "labels": {…}, "meaning": {…}}
    works/ids.npy  works/<column>.npy              users/ likewise
    user_scene_counters/<counter>.npy              where the snapshot has them
    relations/<name>.{indptr,values,times}.npy

Formats 2 and 1 are read too, which say nothing of labels' meaning: it was FORMER_MEANING. The head of format 1 is
labels.json, without a format; its counters by user and scene are in visits/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from karec._files import naming
from karec._once import Once
from karec.errors import DataError
from karec.platform.relations import Relation
from karec.platform.schema import PUBLISHED, Meaning
from karec.platform.table import Table
from karec.types import Array

FORMAT = 3
FORMER_MEANING = Meaning(enjoyed=("click", "long_view"), liked=("like",), followed=("follow",))
HEAD = "snapshot.json"
COUNTERS = "user_scene_counters"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Works, users and relations as of ``time_ms``, Unix milliseconds.

    works, users         their columns as ``karec.platform.schema`` says
    relations            a list of ids for each user row: ``history`` (works enjoyed), ``skipped`` (works passed over),
                         ``liked`` (works), ``follows`` (creators), ``friends`` (users); any may be missing
    labels               names of category codes, for people: {"scene": ["home", …], "type": ["audio", "video"]}
    meaning              which labels say enjoyed, liked, followed
    user_scene_counters  the counters of each user in each of the S scenes that ``labels`` names, (users · S,) float32,
                         row = user row · S + scene code; None where nothing was counted by scene
    built                what readers build from the snapshot (postings, orders): built once, shared, freed with it

    Raises DataError for relations or counters of another number of users.
    """

    time_ms: int
    works: Table
    users: Table
    relations: Mapping[str, Relation]
    labels: Mapping[str, list[str]]
    user_scene_counters: Mapping[str, Array] | None = None
    meaning: Meaning = field(default_factory=Meaning)
    built: Once = field(default_factory=Once, init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.users)
        for name, relation in self.relations.items():
            if len(relation) != n:
                raise DataError(f"relation {name!r} has {len(relation)} rows, expected one for each of {n} users")
        for name, column in (self.user_scene_counters or {}).items():
            if len(column) != n * self.n_scenes:
                raise DataError(
                    f"{COUNTERS} column {name!r} has {len(column)} rows, expected {n} users × {self.n_scenes} scenes"
                )

    @property
    def n_scenes(self) -> int:
        """How many scenes ``labels`` names."""
        return len(self.labels.get("scene", ()))

    @property
    def published_ms(self) -> Array:
        """(works,) int64: when each work was published, ≤ 0 where it is not known."""
        columns = self.works.columns
        return np.asarray(columns[PUBLISHED]) if PUBLISHED in columns else np.zeros(len(self.works), np.int64)

    def user_scene_rows(self, user_rows: Array, scenes: Array) -> Array:
        """(N,) int64 rows of ``user_scene_counters``; −1 for user row −1 and for a scene that has no name."""
        known = (user_rows >= 0) & (scenes >= 0) & (scenes < self.n_scenes)
        return np.where(known, user_rows * self.n_scenes + scenes, -1)

    def released(self) -> Snapshot:
        """The same platform without works that are published only after its moment: what can be recommended."""
        return replace(self, works=self.works.take(self.published_ms <= self.time_ms))

    def save(self, folder: Path) -> None:
        """Writes the files into ``folder``, which is made when it is missing and holds no snapshot yet."""
        for name, table in (("works", self.works), ("users", self.users)):
            _save_columns(folder / name, {"ids": table.ids, **table.columns})
        if self.user_scene_counters is not None:
            _save_columns(folder / COUNTERS, self.user_scene_counters)
        (folder / "relations").mkdir()
        for name, relation in self.relations.items():
            _save(folder / "relations" / f"{name}.indptr.npy", relation.indptr)
            _save(folder / "relations" / f"{name}.values.npy", relation.values)
            if relation.times is not None:
                _save(folder / "relations" / f"{name}.times.npy", relation.times)
        head = {
            "format": FORMAT,
            "time_ms": self.time_ms,
            "labels": dict(self.labels),
            "meaning": asdict(self.meaning),
        }
        with naming(folder / HEAD):
            (folder / HEAD).write_text(json.dumps(head))

    @classmethod
    def open(cls, folder: Path) -> Snapshot:
        """Raises DataError when ``folder`` is no snapshot, a damaged one, or one of a newer format."""
        try:
            head = _read_head(folder)
            counters = folder / (COUNTERS if head["format"] > 1 else "visits")
            names = sorted(path.name.removesuffix(".indptr.npy") for path in folder.glob("relations/*.indptr.npy"))
            return cls(
                time_ms=int(head["time_ms"]),
                works=_open_table(folder / "works"),
                users=_open_table(folder / "users"),
                relations={name: _open_relation(folder / "relations", name) for name in names},
                labels=dict(head["labels"]),
                user_scene_counters=_open_columns(counters) if counters.is_dir() else None,
                meaning=_meaning(head),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise DataError(f"{folder} is not a snapshot: {error}") from error


def _read_head(folder: Path) -> dict[str, Any]:
    if not (folder / HEAD).exists():
        return {"format": 1, **json.loads((folder / "labels.json").read_text())}
    head: dict[str, Any] = json.loads((folder / HEAD).read_text())
    if head["format"] not in (2, FORMAT):
        raise DataError(f"{folder}: snapshot format {head['format']}, this version reads 1, 2 and {FORMAT}")
    return head


def _meaning(head: Mapping[str, Any]) -> Meaning:
    if head["format"] < 3:
        return FORMER_MEANING
    return Meaning(**{name: tuple(map(str, labels)) for name, labels in head["meaning"].items()})


def _save_columns(folder: Path, columns: Mapping[str, Array]) -> None:
    folder.mkdir(parents=True)
    for name, values in columns.items():
        _save(folder / f"{name}.npy", values)


def _save(path: Path, values: Array) -> None:
    """NumPy writes into anything with ``write``; into a file itself it would forget why a write failed."""
    with naming(path), path.open("xb") as file:
        np.save(SimpleNamespace(write=file.write), values, allow_pickle=False)


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
