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
    from karec.features.cowatch import CowatchVectors
    from karec.features.encoder import Encoder

ITEM, COWATCH = "item", "cowatch"


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


@dataclass(frozen=True, eq=False)
class CowatchItemVectors:
    """Co-watch vectors of works, from the encoder; zeros for a work without one."""

    vectors: CowatchVectors

    def vectors_of(self, ids: Array) -> Array:
        """Returns (N, C) float32."""
        return np.asarray(self.vectors.vectors[self.vectors.codes(ids)])


class Parts(Protocol):
    """The parts of a bundle that a similarity reads. Each is opened at its first use."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def vector_statistics(self) -> VectorStatistics | None: ...


def own_vectors(bundle: Parts | None, name: str) -> OwnVectors | CowatchItemVectors | None:
    """Returns the vectors of the columns ``name_00``, ``name_01``, … of works, or of "cowatch"; None for
    "item".

    They are read once per snapshot, for the steps of all scenes.
    Raises ValueError if there are no such columns or vectors.
    """
    if name == ITEM:
        return None
    if name == COWATCH:
        cowatch = None if bundle is None else bundle.encoder.cowatch
        if cowatch is None:
            raise ValueError(
                f"similarity.vectors = {COWATCH!r}: the bundle's encoder has none; train with the cross "
                f"features of who watched what, or take {ITEM!r}"
            )
        return CowatchItemVectors(cowatch)
    snapshot = None if bundle is None else bundle.snapshot
    columns = {} if snapshot is None else snapshot.works.columns
    parts = sorted(column for column in columns if re.fullmatch(re.escape(name) + r"_\d\d", column))
    if snapshot is None or not parts:
        groups = sorted({column[:-3] for column in columns if re.fullmatch(r".+_\d\d", column)})
        groups_text = (
            f"works have vectors {groups}" if groups else "works have none: set roles.vector in data.toml"
        )
        other_names = f"{ITEM!r} or {COWATCH!r}"
        raise ValueError(
            f"similarity.vectors = {name!r}: no columns {name}_00, … of works; {groups_text}, "
            f"or take {other_names}"
        )
    works = snapshot.works
    return snapshot.built.get(("own vectors", name), lambda: OwnVectors(works, _matrix(works, parts)))


def _matrix(works: Table, parts: list[str]) -> Array:
    matrix = np.stack([np.asarray(works[part], np.float32) for part in parts], axis=1)
    matrix[~np.isfinite(matrix).all(axis=1)] = 0.0
    return matrix
