"""The vectors of the candidates and of what the session has seen, in a space where they can be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.types import Array, Candidates, Request

ITEM = "item"


@dataclass(frozen=True, eq=False)
class OwnVectors:
    """Vectors that the platform brought for its works, of audio, covers or texts: ``matrix (works, C) float32``, zeros
    where a work has none."""

    works: Table
    matrix: Array

    def of(self, ids: Array) -> Array:
        """(N, C) float32; zeros for a work that the snapshot does not know."""
        rows = self.works.lookup(ids)
        found = self.matrix[rows]
        found[rows < 0] = 0.0
        return found


class HasSnapshot(Protocol):
    """A bundle: its snapshot is opened when it is asked for."""

    @property
    def snapshot(self) -> Snapshot: ...


def own_vectors(bundle: HasSnapshot | None, name: str) -> OwnVectors | None:
    """The vectors that the columns ``name_00``, ``name_01``, … of works hold; None for "item", the index's own, for
    which a bundle needs no snapshot.

    Read once a snapshot, for the steps of all scenes. ValueError: there are no such columns.
    """
    if name == ITEM:
        return None
    snapshot = None if bundle is None else bundle.snapshot
    columns = {} if snapshot is None else snapshot.works.columns
    parts = sorted(each for each in columns if re.fullmatch(re.escape(name) + r"_\d\d", each))
    if snapshot is None or not parts:
        groups = sorted({each[:-3] for each in columns if re.fullmatch(r".+_\d\d", each)})
        there = f"works have vectors {groups}" if groups else "works have none: say roles.vector in data.toml"
        raise ValueError(f"vectors = {name!r}: no columns {name}_00, … of works; {there}, or take {ITEM!r}")
    works = snapshot.works
    return snapshot.built.get(("own vectors", name), lambda: OwnVectors(works, _matrix(works, parts)))


def _matrix(works: Table, parts: list[str]) -> Array:
    matrix = np.stack([np.asarray(works[part], np.float32) for part in parts], axis=1)
    matrix[~np.isfinite(matrix).all(axis=1)] = 0.0
    return matrix


def vectors_of(request: Request, candidates: Candidates, own: OwnVectors | None = None) -> tuple[Array, Array, Array]:
    """(N, D) of the candidates, (M, D) of those works of ``request.shown`` that the index knows, and their (M,) ids.

    ``own``: these vectors in place of the index's.

    A candidate without a row has a zero vector. Vectors of different model versions have nothing in common, so where
    there are V of them, each version gets dimensions of its own (V·D in all): their cosine is 0.
    """
    index = request.index
    shown_ids = np.array(request.shown, np.int64)
    shown_rows = index.lookup(shown_ids)
    known = shown_rows >= 0
    if own is not None:
        return own.of(candidates.ids), own.of(shown_ids[known]), shown_ids[known]
    rows = np.concatenate([candidates.rows, shown_rows[known]]) if known.any() else candidates.rows
    vectors = index.embeddings(rows)
    if len(index.model_versions) > 1:
        vectors = _apart(vectors, index.model_versions_of(rows))
    return vectors[: len(candidates)], vectors[len(candidates) :], shown_ids[known]


def _apart(vectors: Array, versions: Array) -> Array:
    """(N, D) and (N,) → (N, V·D): each row in the block of its version."""
    standing, block = np.unique(versions, return_inverse=True)
    n, dim = vectors.shape
    out = np.zeros((n, len(standing), dim), np.float32)
    out[np.arange(n), block] = vectors
    return out.reshape(n, -1)
