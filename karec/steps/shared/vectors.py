"""Vectors of works other than those of the item index, by name."""

from __future__ import annotations

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

    ``matrix``: (works, D) float32, zeros for a work without a vector.
    """

    works: Table
    matrix: Array

    def vectors_of(self, ids: Array) -> Array:
        """Returns (N, D) float32; zeros for unknown works."""
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
    """Returns the vectors of the column ``name`` of works; None for "item".

    Raises ValueError without such a column.
    """
    if name == ITEM:
        return None
    columns = {} if bundle is None else bundle.snapshot.works.columns
    vectors = sorted(column for column, values in columns.items() if values.ndim == 2)
    if bundle is None or name not in vectors:
        actual = f"works have {vectors}" if vectors else "works have none: set roles.vector in data.toml"
        raise ValueError(
            f"similarity.vectors = {name!r}: no vectors {name!r} of works; {actual}, or take {ITEM!r}"
        )
    works = bundle.snapshot.works
    return OwnVectors(works, np.asarray(works[name]))
