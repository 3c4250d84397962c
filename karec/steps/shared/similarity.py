"""What a scene means by two works being alike: vectors, mapped or not, and columns in which equal values
count.

    similarity = { vectors = "item", centre = true, whiten = 0.5, facets = { creator_id = 0.3, song_id = 0.2 }
    }

S = (1 − Σ w_f)·⟨f_i, f_j⟩ + Σ_f w_f·[column_f(i) = column_f(j)], f the vectors at unit length;
karec.diversity.dpp_select says what a selection does with it.
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

    vectors  "item": those of the item index; "cowatch": of works by who watched them together, from the
             bundle's encoder; else the name of vectors of one's own (``"vector"``: the columns vector_00,
             vector_01, … of works)
    centre   the item vectors less their mean over the catalogue, which the bundle holds
    whiten   p in [0, 1]: differences of variance between directions of the item vectors are taken away to
             that power
    facets   {integer column of the item index: weight ≥ 0}, at most 1 in sum, ``type_weight`` included. A
             value below 0 says that a work has none: it is like no other by that column
    """

    vectors: str = ITEM
    centre: bool = False
    whiten: float = 0.0
    facets: Mapping[str, float] = field(default_factory=dict)


PLAIN = Similarity()


@dataclass(frozen=True, eq=False)
class Compared:
    """What a selection compares: of the N candidates, and of the M works of ``request.shown`` that the index
    knows."""

    vectors: Array | None  # (N, D); None: those of the candidates' rows in the index, as they stand there
    shown: Array  # (M, D)
    shown_ids: Array  # (M,)
    facets: Array  # (F, N) int64
    shown_facets: Array  # (F, M) int64


class Alike:
    """A step's similarity, its parts found and checked. ValueError: a part that is not there or out of
    range."""

    def __init__(
        self, schema: IndexSchema, bundle: Parts | None, wanted: Similarity, type_weight: float = 0.0
    ) -> None:
        """``type_weight``: what types take of the whole."""
        for column, weight in wanted.facets.items():
            schema.check_column(column, f"similarity.facets.{column}", is_integer=True)
            between(f"similarity.facets.{column}", weight, 1.0)
        total = sum(wanted.facets.values()) + type_weight
        if total > MAX_WEIGHT_SUM:
            types = ", with type_weight," if type_weight else ""
            raise ValueError(f"similarity.facets: the weights{types} sum to {total:g}, expected at most 1")
        self.wanted = wanted
        self.weights = list(wanted.facets.values())
        self.own = own_vectors(bundle, wanted.vectors)
        self._map, self._version = None, 0
        between("similarity.whiten", wanted.whiten, 1.0)
        if wanted.centre or wanted.whiten > 0:
            self._map, self._version = self._mapping(bundle)

    def _mapping(self, bundle: Parts | None) -> tuple[_native.VectorMap, int]:
        key = "similarity.centre" if self.wanted.centre else "similarity.whiten"
        if self.own is not None:
            known = f"the bundle has statistics of {ITEM!r} vectors alone"
            raise ValueError(f"{key}: similarity.vectors = {self.wanted.vectors!r}, but {known}")
        statistics = None if bundle is None else bundle.vector_statistics
        if statistics is None:
            raise ValueError(
                f"{key}: the bundle has no statistics of its vectors; publish it again with this karec"
            )
        mean = statistics.mean if self.wanted.centre else None
        made = _native.VectorMap(mean, statistics.axes, statistics.variances, float(self.wanted.whiten))
        return made, statistics.model_version

    def compared(self, request: Request, candidates: Candidates, in_place: bool = False) -> Compared:
        """A candidate without a row has a zero vector and no value of a facet.

        ``in_place``: vectors that the index has as they are compared are not copied; ``vectors`` is None
        then.

        Vectors of different model versions have nothing in common, so where there are V of them, each version
        gets dimensions of its own (V·D in all): their cosine is 0. The bundle's statistics are of its own
        version; rows of another one are compared with each other as they are.
        """
        index = request.index
        shown_ids = np.array(request.shown, np.int64)
        shown_rows = index.lookup(shown_ids)
        known = shown_rows >= 0
        n, ids = len(candidates), shown_ids[known]
        rows = np.concatenate([candidates.rows, shown_rows[known]]) if known.any() else candidates.rows
        facets = self._facets(request, rows)
        codes, shown_codes = facets[:, :n], facets[:, n:]
        if in_place and self._stand_in_index(request, candidates):
            return Compared(None, index.embeddings(shown_rows[known]), ids, codes, shown_codes)
        if self.own is not None:
            vectors = np.concatenate([self.own.of(candidates.ids), self.own.of(ids)])
        else:
            vectors = self._item_vectors(request, rows)
        return Compared(vectors[:n], vectors[n:], ids, codes, shown_codes)

    def _stand_in_index(self, request: Request, candidates: Candidates) -> bool:
        """Whether the vectors that are compared are those of the candidates' rows, which all hold works."""
        if self.own is not None or self._map is not None or len(request.index.model_versions) > 1:
            return False
        return request.index.has_rows(candidates.rows) and not candidates.n_unknown

    def _item_vectors(self, request: Request, rows: Array) -> Array:
        index = request.index
        vectors = index.embeddings(rows)
        standing = index.model_versions
        if self._map is not None and standing == (self._version,):
            return self._map.apply(vectors)
        if len(standing) < 2:
            return vectors
        versions = index.model_versions_of(rows)
        if self._map is not None:
            ours = versions == self._version
            vectors[ours] = self._map.apply(vectors[ours])
        return _apart(vectors, versions)

    def _facets(self, request: Request, rows: Array) -> Array:
        codes = np.empty((len(self.weights), len(rows)), np.int64)
        for own, column in zip(codes, self.wanted.facets, strict=True):
            own[:] = request.index.gather(column, rows)
            none = (own < 0) | (rows < 0)
            own[none] = -1 - np.flatnonzero(none)  # a value that no other work has
        return codes


def _apart(vectors: Array, versions: Array) -> Array:
    """(N, D) and (N,) → (N, V·D): each row in the block of its version."""
    standing, block = np.unique(versions, return_inverse=True)
    n, dim = vectors.shape
    out = np.zeros((n, len(standing), dim), np.float32)
    out[np.arange(n), block] = vectors
    return out.reshape(n, -1)
