"""The item index: the vectors of all works by id, and the inner product of a query with any of them.

The work is done in C++ (``native/include/karec/item_index.hpp``); this is its Python face. One call uses one thread
and releases the GIL, so that requests run side by side. An index does not change after ``build`` or ``open``.

Arrays are checked before anything runs: a wrong rank, shape or dtype is a ``ValueError`` that names both shapes, NaN
or infinity one that names the first bad position. Arrays must not change while a call reads them. C-contiguous
float32 / int64 / int32 input is used where it lies; other real or integer dtypes are converted first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found, best first; unpacks as ``scores, ids = result``, FAISS's order.

    Ordered by score, largest first, equal scores by position in the input, lowest first. Of ``search`` every array is
    (n,) with n ≤ k. Of ``search_all`` with queries (B, D) every array is (B, n), and a list with fewer results than n
    ends in score −inf, id −1, row −1, position −1.

    scores      float32  inner product
    ids         int64    work id
    rows        int32    row in the index
    positions   int64    place in the input list (``search_all``: the row)
    unknown     how many inputs the index does not know; they were skipped
    generation  the generation of the index that answered
    """

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    rows: NDArray[np.int32]
    positions: NDArray[np.int64]
    unknown: int
    generation: int

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.scores, self.ids))


class ItemIndex:
    """N vectors of D dimensions under unique int64 ids, with columns. Make one with ``build`` or ``open``."""

    def __init__(self, native: _native.ItemIndex) -> None:
        self._native = native
        self._columns = MappingProxyType(native.columns())

    @classmethod
    def build(
        cls,
        ids: ArrayLike,
        embeddings: ArrayLike,
        dtype: Literal["float16", "float32"] = "float16",
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int = 0,
    ) -> ItemIndex:
        """An index in memory. O(N·D); everything is copied.

        ids            (N,) int64, unique, any values
        embeddings     (N, D) float32 or float16, finite, 1 ≤ D ≤ 65536
        dtype          how vectors are stored; float16 rounds to nearest, ties to even
        columns        {name: (N,) of any integer, floating or boolean dtype}
        model_version  of the tower that made the vectors

        ValueError: a shape or dtype that does not fit, a repeated id, NaN or infinity, a value too large for float16.
        """
        named = [(name, np.asarray(column)) for name, column in (columns or {}).items()]
        return cls(_native.ItemIndex.build(ids, embeddings, dtype, named, model_version))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ItemIndex:
        """Memory-maps an index file and verifies all of it (checksums, sizes, the id map): O(file).

        Processes that open one file share its memory. IndexFormatError: truncated, altered, or not an index file of
        this version. OSError: the file cannot be read.
        """
        return cls(_native.ItemIndex.open(os.fsencode(path)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes beside ``path``, syncs, renames: whoever opens ``path`` gets the old file or the whole new one."""
        self._native.save(os.fsencode(path))

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return (
            f"ItemIndex({len(self)} × {self.dim} {self.dtype}, columns={list(self.columns)}, "
            f"model_version={self.model_version}, generation={self.generation})"
        )

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return self._native.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """How vectors are stored: float16 or float32."""
        return np.dtype(self._native.dtype)

    @property
    def model_version(self) -> int:
        """The version of the tower that made the vectors."""
        return self._native.model_version

    @property
    def generation(self) -> int:
        """Names the contents: the same number, the same contents. 1 after ``build``."""
        return self._native.generation

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) the id of each row; a read-only view."""
        return self._native.ids()

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """{name: (N,)} by row; read-only views."""
        return self._columns

    def lookup(self, ids: ArrayLike) -> NDArray[np.int32]:
        """(N,) the row of each id, −1 = unknown. Expected O(1) an id."""
        return self._native.lookup(ids)

    def search(
        self, query: ArrayLike, *, ids: ArrayLike | None = None, rows: ArrayLike | None = None, k: int
    ) -> SearchResult:
        """The ``k`` candidates with the largest inner product with ``query`` (D,). O(N·D + k log k).

        Candidates are given as ``ids`` (N,) int64 or as ``rows`` (N,) int32, one of the two. Unknown ids, and rows
        of −1, are skipped and counted in ``.unknown``. A candidate that stands twice is found twice. k > N gives N.

        ValueError: k ≤ 0, a row outside [−1, len), a query of another length, NaN or infinity in it.
        """
        return SearchResult(*self._native.search(query, self._rows(ids, rows), k), self.generation)

    def search_all(self, queries: ArrayLike, k: int, mask: ArrayLike | None = None) -> SearchResult:
        """The ``k`` best of all rows, exactly, for one query (D,) or for several (B, D). O(B·N·D), one pass over rows.

        mask  (N,) bool, False leaves a row out

        For queries (B, D) results are (B, min(k, N)), padded as ``SearchResult`` says. ValueError as in ``search``.
        """
        array = np.asarray(queries)
        scores, found, rows, positions, counts = self._native.search_all(np.atleast_2d(array), k, mask)
        if array.ndim == 1:
            n = counts[0]
            scores, found, rows, positions = scores[0, :n], found[0, :n], rows[0, :n], positions[0, :n]
        return SearchResult(scores, found, rows, positions, 0, self.generation)

    def scores(
        self,
        query: ArrayLike,
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """(N,) inner product of ``query`` (D,) with each candidate, in input order; −inf where it is unknown. O(N·D).

        out  (N,) float32, C-contiguous, writeable: filled and returned instead of a new array
        """
        rows = self._rows(ids, rows)
        if out is None:
            out = np.empty(len(rows), np.float32)
        self._native.scores(query, rows, out)
        return out

    def embeddings(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(N, D) the vectors of ``rows`` (N,) as float32; zeros for row −1. ValueError: a row outside [−1, len)."""
        return self._native.embeddings(rows)

    def _rows(self, ids: ArrayLike | None, rows: ArrayLike | None) -> NDArray[Any]:
        if ids is not None and rows is None:
            return self._native.lookup(ids)
        if rows is not None and ids is None:
            return np.asarray(rows)
        raise ValueError("give the candidates either as ids= or as rows=")
