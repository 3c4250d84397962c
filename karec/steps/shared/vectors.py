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
    """Vectors that the platform brought for its works, of audio, covers or texts: ``matrix (works, C)
    float32``, zeros where a work has none."""

    works: Table
    matrix: Array

    def of(self, ids: Array) -> Array:
        """(N, C) float32; zeros for a work that the snapshot does not know."""
        rows = self.works.lookup(ids)
        found = self.matrix[rows]
        found[rows < 0] = 0.0
        return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Cowatch:
    """Vectors of works from who watched them together, as the encoder holds them; zeros where a work has
    none."""

    vectors: CowatchVectors

    def of(self, ids: Array) -> Array:
        """(N, C) float32."""
        return np.asarray(self.vectors.vectors[self.vectors.codes(ids)])


class Parts(Protocol):
    """A bundle: each part is opened when it is asked for."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def vector_statistics(self) -> VectorStatistics | None: ...


def own_vectors(bundle: Parts | None, name: str) -> OwnVectors | Cowatch | None:
    """The vectors that the columns ``name_00``, ``name_01``, … of works hold, or those of "cowatch"; None for
    "item", the index's own, for which a bundle needs no snapshot.

    Read once a snapshot, for the steps of all scenes. ValueError: there are no such columns, or no such
    vectors.
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
        return Cowatch(cowatch)
    snapshot = None if bundle is None else bundle.snapshot
    columns = {} if snapshot is None else snapshot.works.columns
    parts = sorted(each for each in columns if re.fullmatch(re.escape(name) + r"_\d\d", each))
    if snapshot is None or not parts:
        groups = sorted({each[:-3] for each in columns if re.fullmatch(r".+_\d\d", each)})
        there = f"works have vectors {groups}" if groups else "works have none: say roles.vector in data.toml"
        known = f"{ITEM!r} or {COWATCH!r}"
        raise ValueError(
            f"similarity.vectors = {name!r}: no columns {name}_00, … of works; {there}, or take {known}"
        )
    works = snapshot.works
    return snapshot.built.get(("own vectors", name), lambda: OwnVectors(works, _matrix(works, parts)))


def _matrix(works: Table, parts: list[str]) -> Array:
    matrix = np.stack([np.asarray(works[part], np.float32) for part in parts], axis=1)
    matrix[~np.isfinite(matrix).all(axis=1)] = 0.0
    return matrix
