"""Similarity of two items for a selection: vectors, mapped or not, and columns in which equal values count.

    similarity = { vectors = "item", centre = true, whiten = 0.5, facets = { creator_id = 0.3, song_id = 0.2 }
    }

S = (1 − Σ w_f)·⟨f_i, f_j⟩ + Σ_f w_f·[column_f(i) = column_f(j)], with vectors f of unit length;
``karec.diversity.dpp_select`` defines what a selection does with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from karec import _native
from karec.diversity.options import MAX_WEIGHT_SUM
from karec.index import IndexSchema
from karec.kernels.arguments import between
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.vectors import ITEM, Parts, own_vectors


@dataclass(frozen=True)
class Similarity:
    """The table ``similarity`` of a step.

    vectors  "item": vectors of the item index. Else a column of own vectors of works
    centre   subtract from item vectors their mean over the catalogue, stored in the bundle
    whiten   p in [0, 1]: the power to which differences of variance between directions of item vectors are
             removed
    facets   {integer column of the item index: weight ≥ 0}; their sum with ``type_weight`` is at most 1. A
             value below 0 means none, and equals no other
    """

    vectors: str = ITEM
    centre: bool = False
    whiten: float = 0.0
    facets: Mapping[str, float] = field(default_factory=dict)


PLAIN = Similarity()


@dataclass(frozen=True, eq=False)
class ComparedItems:
    """Vectors and facet values of N candidates, and of the M known items of ``request.shown``."""

    vectors: Array | None  # (N, D); None: those of the candidates' rows in the index, as they stand there
    shown: Array  # (M, D)
    shown_ids: Array  # (M,)
    facets: Array  # (F, N) int64
    shown_facets: Array  # (F, M) int64


class CandidateSimilarity:
    """The similarity of a step, with its vectors and map. Any thread may call it.

    Raises ValueError if a part is missing or out of range.
    """

    def __init__(
        self, schema: IndexSchema, bundle: Parts | None, settings: Similarity, type_weight: float = 0.0
    ) -> None:
        """``type_weight``: weight of types in the whole similarity."""
        for column, weight in settings.facets.items():
            schema.check_column(column, f"similarity.facets.{column}", is_integer=True)
            between(f"similarity.facets.{column}", weight, 1.0)
        total = sum(settings.facets.values()) + type_weight
        if total > MAX_WEIGHT_SUM:
            types = ", with type_weight," if type_weight else ""
            raise ValueError(f"similarity.facets: the weights{types} sum to {total:g}, expected at most 1")
        self.settings = settings
        self.weights = list(settings.facets.values())
        self.own_vectors = own_vectors(bundle, settings.vectors)
        self._map, self._version = None, 0
        between("similarity.whiten", settings.whiten, 1.0)
        if settings.centre or settings.whiten > 0:
            self._map, self._version = self._mapping(bundle)

    def _mapping(self, bundle: Parts | None) -> tuple[_native.VectorMap, int]:
        key = "similarity.centre" if self.settings.centre else "similarity.whiten"
        if self.own_vectors is not None:
            reason = f"the bundle has statistics of {ITEM!r} vectors only"
            raise ValueError(f"{key}: similarity.vectors = {self.settings.vectors!r}, but {reason}")
        statistics = None if bundle is None else bundle.vector_statistics
        if statistics is None:
            raise ValueError(
                f"{key}: the bundle has no statistics of its vectors; publish it again with this karec"
            )
        mean = statistics.mean if self.settings.centre else None
        vector_map = _native.VectorMap(
            mean, statistics.axes, statistics.variances, float(self.settings.whiten)
        )
        return vector_map, statistics.model_version

    def compare(self, request: Request, candidates: Candidates, is_in_place: bool = False) -> ComparedItems:
        """Returns vectors and facet values. An item without a row has a zero vector and no facet value.

        ``is_in_place``: do not copy vectors that can be read from the index; ``vectors`` is None then.

        Vectors of different model versions cannot be compared. With V versions each has its own dimensions
        (V·D in all), so that their cosine is 0. The bundle's statistics are of its own version; rows of other
        versions are compared without a map.
        """
        index = request.index
        shown_ids = np.array(request.shown, np.int64)
        shown_rows = index.lookup(shown_ids)
        is_known = shown_rows >= 0
        n, ids = len(candidates), shown_ids[is_known]
        rows = np.concatenate([candidates.rows, shown_rows[is_known]]) if is_known.any() else candidates.rows
        facets = self._facets(request, rows)
        codes, shown_codes = facets[:, :n], facets[:, n:]
        if is_in_place and self._is_in_index(request, candidates):
            return ComparedItems(None, index.embeddings(shown_rows[is_known]), ids, codes, shown_codes)
        if self.own_vectors is not None:
            vectors = np.concatenate(
                [self.own_vectors.vectors_of(candidates.ids), self.own_vectors.vectors_of(ids)]
            )
        else:
            vectors = self._item_vectors(request, rows)
        return ComparedItems(vectors[:n], vectors[n:], ids, codes, shown_codes)

    def _is_in_index(self, request: Request, candidates: Candidates) -> bool:
        """Returns True if the compared vectors are those of the candidates' rows, and all have rows."""
        if self.own_vectors is not None or self._map is not None or len(request.index.model_versions) > 1:
            return False
        return request.index.has_rows(candidates.rows) and not candidates.n_unknown

    def _item_vectors(self, request: Request, rows: Array) -> Array:
        index = request.index
        vectors = index.embeddings(rows)
        present = index.model_versions
        if self._map is not None and present == (self._version,):
            return self._map.apply(vectors)
        if len(present) < 2:
            return vectors
        versions = index.model_versions_of(rows)
        if self._map is not None:
            ours = versions == self._version
            vectors[ours] = self._map.apply(vectors[ours])
        return _by_version(vectors, versions)

    def _facets(self, request: Request, rows: Array) -> Array:
        codes = np.empty((len(self.weights), len(rows)), np.int64)
        for row, column in zip(codes, self.settings.facets, strict=True):
            row[:] = request.index.gather(column, rows)
            none = (row < 0) | (rows < 0)
            row[none] = -1 - np.flatnonzero(none)  # a value that no other item has
        return codes


def _by_version(vectors: Array, versions: Array) -> Array:
    """Returns (N, V·D): each row of (N, D) in the block of its version."""
    present, block = np.unique(versions, return_inverse=True)
    n, dim = vectors.shape
    out = np.zeros((n, len(present), dim), np.float32)
    out[np.arange(n), block] = vectors
    return out.reshape(n, -1)
