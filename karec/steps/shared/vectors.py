"""Vectors of works other than those of the item index, by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.pipeline.types import Array

if TYPE_CHECKING:
    from karec.bundle.vector_statistics import VectorStatistics

ITEM = "item"


@dataclass(frozen=True, eq=False)
class OwnVectors:
    """Vectors of the platform for its works, for example of audio, covers or texts.

    ``matrix``: (works, C) float32, zeros for a work without a vector.
    """

    works: Table
    matrix: Array

    def vectors_of(self, ids: Array) -> Array:
        """Returns (N, C) float32; zeros for unknown works."""
        rows = self.works.lookup(ids)
        vectors = self.matrix[rows]
        vectors[rows < 0] = 0.0
        return np.asarray(vectors)


class Parts(Protocol):
    """The parts of a bundle that a similarity reads. Each is opened at its first use."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def vector_statistics(self) -> VectorStatistics | None: ...


def own_vectors(bundle: Parts | None, name: str) -> OwnVectors | None:
    """Returns the vectors of the columns ``name_00``, ``name_01``, … of works; None for "item".

    They are read once per snapshot, for the steps of all scenes. Raises ValueError without such columns.
    """
    if name == ITEM:
        return None
    snapshot = None if bundle is None else bundle.snapshot
    columns = {} if snapshot is None else snapshot.works.columns
    parts = sorted(column for column in columns if re.fullmatch(re.escape(name) + r"_\d\d", column))
    if snapshot is None or not parts:
        groups = sorted({column[:-3] for column in columns if re.fullmatch(r".+_\d\d", column)})
        groups_text = (
            f"works have vectors {groups}" if groups else "works have none: set roles.vector in data.toml"
        )
        raise ValueError(
            f"similarity.vectors = {name!r}: no columns {name}_00, … of works; {groups_text}, "
            f"or take {ITEM!r}"
        )
    works = snapshot.works
    return snapshot.built.get(("own vectors", name), lambda: OwnVectors(works, _matrix(works, parts)))


def _matrix(works: Table, parts: list[str]) -> Array:
    matrix = np.stack([np.asarray(works[part], np.float32) for part in parts], axis=1)
    matrix[~np.isfinite(matrix).all(axis=1)] = 0.0
    return matrix
