"""The platform at a moment: works, users, and their relations. Loaders make it, learning and recall read it.

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
from karec.platform.relations import Relation
from karec.platform.schema import WORK_COLUMNS
from karec.platform.table import Table
from karec.types import Array


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
