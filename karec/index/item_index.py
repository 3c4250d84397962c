"""The item index: the vectors of all works by id, and the inner product of a query with any of them.

The work is done in C++ (``native/include/karec/item_index.hpp``); this is its Python face. One call uses one thread
and releases the GIL, so that requests run side by side.

An index lives: any thread may write (``upsert``, ``remove``, ``adjust``, ``block``, ``unblock``) while others search.
Every write publishes a new generation, whole or not at all; every call sees one generation from start to end and
waits for no write. Work that reads ``ids`` or ``columns`` by the rows of a search compares generations, or looks the
ids up again: a row names the same vector until its work is upserted or removed.

Arrays are checked before anything runs: a wrong rank, shape or dtype is a ``ValueError`` that names both shapes, NaN
or infinity one that names the first bad position. Arrays must not change while a call reads them. C-contiguous
float32 / int64 / int32 input is used where it lies; other real or integer dtypes are converted first.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec._backend import library as _native
from karec.diversity import DppOptions, DppResult, native_options, scaled
from karec.index.search_result import SearchResult, result_lists
from karec.kernels.option_values import whole


@dataclass(frozen=True, eq=False)
class _Table:
    generation: int
    ids: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    present: NDArray[np.bool_] | None


class ItemIndex:
    """N works' vectors of D dimensions under unique int64 ids, with columns. Make one with ``build`` or ``open``."""

    def __init__(self, native: _native.ItemIndex) -> None:
        self._native = native
        self._table: _Table | None = None

    @classmethod
    def build(
        cls,
        ids: ArrayLike,
        embeddings: ArrayLike,
        dtype: Literal["float16", "float32", "int8"] = "float16",
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int = 0,
        rescore: bool = False,
    ) -> ItemIndex:
        """An index in memory. O(N·D); everything is copied.

        ids            (N,) int64, unique, any values
        embeddings     (N, D) float32 or float16, finite, 1 ≤ D ≤ 65536
        dtype          how vectors are stored; float16 rounds to nearest, ties to even; int8 in 127ths of the row's
                       largest |x|
        columns        {name: (N,) of any integer, floating or boolean dtype}
        model_version  of the tower that made the vectors
        rescore        for int8: keep float32 rows too, and rank the best 1.2·k of a search by those

        ValueError: a shape or dtype that does not fit, a repeated id, NaN or infinity, a value too large for float16,
        KAREC_FORCE_ISA naming an instruction set that the machine lacks.
        """
        named = _named(columns)
        return cls(_native.ItemIndex.build(ids, embeddings, dtype, named, _version(model_version), rescore))

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> ItemIndex:
        """Memory-maps an index file and verifies all of it (checksums, sizes, the id map): O(file).

        Processes that open one file share its memory. What is written to an opened index stays in this process.

        verify  False takes the contents on trust, for a sibling of a process that did verify. Header, table, sizes and
                bounds are still checked, and no call reads outside the file whatever it holds.

        IndexFormatError: truncated, altered, or not an index file of this version. OSError: the file cannot be read.
        """
        return cls(_native.ItemIndex.open(os.fsencode(path), verify))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes beside ``path``, syncs, renames: whoever opens ``path`` gets the old file or the whole new one.

        Adjustments and blocks are saved; rows of removed works are not, so that the rows behind them move up.
        """
        self._native.save(os.fsencode(path))

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        columns = [name for name, _ in self._native.column_types]
        return (
            f"ItemIndex({len(self)} × {self.dim} {self.dtype}, columns={columns}, "
            f"model_version={self.model_version}, generation={self.generation})"
        )

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return self._native.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """How vectors are stored: float16, float32 or int8."""
        return np.dtype(self._native.dtype)

    @property
    def rescores(self) -> bool:
        """Whether searches rank their best by float32 rows."""
        return self._native.rescores

    @property
    def isa(self) -> str:
        """The instruction set that runs: ``avx512``, ``avx2`` or ``generic``; ``portable`` without the C++ library."""
        return _native.isa()

    @property
    def n_rows(self) -> int:
        """Rows, with those that removed works left behind: every row is below. ``len(index)`` counts works."""
        return self._native.n_rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory of everything that grows with the works, mapped or allocated."""
        return self._native.bytes

    @property
    def model_version(self) -> int:
        """The version of the tower that made the newest vectors."""
        return self._native.model_version

    @property
    def model_versions(self) -> tuple[int, ...]:
        """Of all vectors, ascending: several during a rolling refresh."""
        return tuple(self._native.model_versions)

    @property
    def generation(self) -> int:
        """Names the contents: the same number, the same contents. 1 after ``build``, one more with each write."""
        return self._native.generation

    @property
    def ids(self) -> NDArray[np.int64]:
        """(n_rows,) the id of each row, read-only; void where ``present`` is False. O(N) after a write."""
        return self._rows_table().ids

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """{name: (n_rows,)} by row, read-only; void where ``present`` is False. O(N) after a write."""
        return self._rows_table().columns

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n_rows,) whether a row holds a work: False where one was removed or replaced. O(N) after a write."""
        table = self._rows_table()
        return np.ones(len(table.ids), bool) if table.present is None else table.present

    def upsert(
        self,
        ids: ArrayLike,
        embeddings: ArrayLike,
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int | None = None,
    ) -> None:
        """Puts works in: new ones, and new vectors and columns of works that are there. One new generation.

        A work that is there keeps its adjustment and its block, and gets another row.

        ids            (N,) int64, unique
        embeddings     (N, D) float32 or float16, finite
        columns        {name: (N,)}: all of the index's columns, in their dtypes
        model_version  of these vectors; None: that of the newest ones

        ValueError: as ``build``, or a column that is missing or not the index's.
        """
        version = self.model_version if model_version is None else _version(model_version)
        types = dict(self._native.column_types)
        named = [(name, _as_column(column, types.get(name))) for name, column in _named(columns)]
        self._native.upsert(ids, embeddings, named, version)

    def remove(self, ids: ArrayLike) -> int:
        """Takes works out; their rows are used again once no search sees them. The number of unknown ids."""
        return self._native.remove(ids)

    def block(self, ids: ArrayLike) -> int:
        """Searches skip these works until ``unblock``. The number of unknown ids, which are passed over."""
        return self._native.block(ids)

    def unblock(self, ids: ArrayLike) -> int:
        """Takes ``block`` back. The number of unknown ids, which are passed over."""
        return self._native.unblock(ids)

    def adjust(
        self, ids: ArrayLike, *, scale: ArrayLike | float | None = None, offset: ArrayLike | float | None = None
    ) -> int:
        """From here on a work's score is inner product · scale + offset; {1, 0} is where every work starts.

        ids            (N,) int64
        scale, offset  (N,) float32 or one number for all, finite; None leaves that one as it is

        Returns the number of unknown ids, which are passed over. One new generation.
        """
        if scale is None and offset is None:
            raise ValueError("give a scale, an offset or both")
        n = np.shape(ids)
        each = [None if x is None else np.broadcast_to(x, n) if np.ndim(x) == 0 else x for x in (scale, offset)]
        return self._native.adjust(ids, *each)

    def lookup(self, ids: ArrayLike) -> NDArray[np.int32]:
        """(N,) the row of each id, −1 = unknown. Expected O(1) an id."""
        return self._native.lookup(ids)

    def search(
        self,
        query: ArrayLike | None = None,
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        k: int,
        query_by_version: Mapping[int, ArrayLike] | None = None,
    ) -> SearchResult:
        """The ``k`` candidates with the largest score against ``query`` (D,). O(N·D + k log k).

        Candidates are given as ``ids`` (N,) int64 or as ``rows`` (N,) int32, one of the two. Unknown ids, and rows
        of −1 or of removed works, are skipped and counted in ``.unknown``, blocked ones in ``.blocked``. A candidate
        that stands twice is found twice. k > N gives N.

        query_by_version  {model version: (D,)} instead of ``query``: each row meets the query of its own version

        ValueError: k ≤ 0, a row outside [−1, n_rows), a query of another length, NaN or infinity in it, one query for
        an index that holds vectors of several model versions.
        """
        _one_of(ids, rows)
        versioned = _versioned(query, query_by_version)
        scores, found, at, positions, counts = self._native.search(versioned, ids, rows, whole("k", k))
        return SearchResult(scores, found, at, positions, counts[0], counts[2], counts[1])

    def search_batch(
        self,
        queries: ArrayLike | None = None,
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        indptr: ArrayLike,
        k: int,
        query_by_version: Mapping[int, ArrayLike] | None = None,
    ) -> SearchResult:
        """``search`` for B users in one call and one generation, each among candidates of their own.

        queries  (B, D)
        ids      (N,) int64, or rows (N,) int32: all users' candidates, one after the other
        indptr   (B + 1,) int64: user b's are indptr[b] … indptr[b + 1] − 1; positions count from indptr[b]
        query_by_version  {model version: (B, D)} instead of ``queries``

        Arrays are (B, n), n = min(k, the longest list), padded as ``SearchResult`` says; ``.found`` counts each list.
        ValueError as in ``search``, or indptr that falls or does not span the candidates.
        """
        _one_of(ids, rows)
        scores, found, at, positions, counts = self._native.search_batch(
            _versioned(queries, query_by_version), ids, rows, indptr, whole("k", k)
        )
        return result_lists(scores, found, at, positions, counts, self.generation)

    def search_all(
        self,
        queries: ArrayLike | None = None,
        k: int = 1000,
        mask: ArrayLike | None = None,
        *,
        query_by_version: Mapping[int, ArrayLike] | None = None,
    ) -> SearchResult:
        """The ``k`` best of all rows, exactly, for one query (D,) or for several (B, D). O(B·N·D), one pass over rows.

        mask              (n_rows,) bool, False leaves a row out; of one generation: where others write meanwhile, rows
                          may have come or name other works by then (compare ``.generation``)
        query_by_version  {model version: (D,) or (B, D)} instead of ``queries``

        Blocked works are left out. For queries (B, D) results are (B, min(k, N)), padded as ``SearchResult`` says.
        ValueError as in ``search``.
        """
        versioned = _versioned(queries, query_by_version)
        one = all(array.ndim == 1 for _, array in versioned)
        stacked = [(version, np.atleast_2d(array)) for version, array in versioned]
        scores, found, rows, positions, counts = self._native.search_all(stacked, whole("k", k), mask)
        if not one:
            return result_lists(scores, found, rows, positions, counts, self.generation)
        n = counts[0][3]
        return SearchResult(scores[0, :n], found[0, :n], rows[0, :n], positions[0, :n], 0, counts[0][2])

    def scores(
        self,
        query: ArrayLike | None = None,
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        out: NDArray[np.float32] | None = None,
        query_by_version: Mapping[int, ArrayLike] | None = None,
    ) -> NDArray[np.float32]:
        """(N,) the adjusted score of each candidate, in input order; −inf where a search would skip it. O(N·D).

        out  (N,) float32, C-contiguous, writeable: filled and returned instead of a new array

        Scores of int8 rows are not rescored. Otherwise as ``search``.
        """
        _one_of(ids, rows)
        return self._native.scores(_versioned(query, query_by_version), ids, rows, out)[0]

    def dpp_select(self, rows: ArrayLike, relevance: ArrayLike, k: int, **options: Unpack[DppOptions]) -> DppResult:
        """``karec.dpp_select`` among the works of ``rows``, whose vectors are read where they lie, in one generation.

        rows       (N,) int32; the result's indices are places in it
        relevance  (N,) float32
        options    as in ``karec.dpp_select``

        The same result as ``karec.dpp_select(index.embeddings(rows), relevance, k, …)``, without that copy.
        ValueError as there, or a row that holds no work (−1, or one that was removed), naming the first.
        """
        native = native_options("dpp_select", options)
        relevance = scaled(relevance, options.get("standardise", False))
        return DppResult(*_native.dpp_select_rows(self._native, rows, relevance, whole("k", k), **native))

    def embeddings(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(N, D) the vectors of ``rows`` (N,) as float32; zeros for row −1 and for rows of removed works.

        ValueError: a row outside [−1, n_rows).
        """
        return self._native.embeddings(rows)

    def pinned(self) -> PinnedIndex:
        """The index as it is now, for a request."""
        native = self._native
        newest = getattr(native, "_newest", None)
        return PinnedIndex(native if newest is None else type(native)(newest))

    def _rows_table(self) -> _Table:
        table = self._table
        if table is None or table.generation != self.generation:
            generation, ids, columns, present = self._native.table()
            self._table = table = _Table(generation, ids, MappingProxyType(columns), present)
        return table


def _named(columns: Mapping[str, ArrayLike] | None) -> list[tuple[str, NDArray[Any]]]:
    return [(name, np.asarray(column)) for name, column in (columns or {}).items()]


def _as_column(column: NDArray[Any], dtype: str | None) -> NDArray[Any]:
    """In the index's dtype, if no value changes by it."""
    if dtype is None or not np.can_cast(column.dtype, dtype, "same_kind"):
        return column
    cast = column.astype(dtype)
    return cast if np.array_equal(cast, column) else column


def _one_of(ids: ArrayLike | None, rows: ArrayLike | None) -> None:
    if (ids is None) == (rows is None):
        raise ValueError("give the candidates either as ids= or as rows=")


def _version(number: int) -> int:
    """An int64. TypeError for what is no whole number, ValueError for one that does not fit."""
    version = operator.index(number)
    if not -(2**63) <= version < 2**63:
        raise ValueError(f"a model version is an int64, got {version}")
    return version


def _versioned(
    query: ArrayLike | None, by_version: Mapping[int, ArrayLike] | None
) -> list[tuple[int | None, NDArray[Any]]]:
    if (query is None) == (by_version is None) or (by_version is not None and not by_version):
        raise ValueError("give either one query or query_by_version={model version: query}")
    if by_version is None:
        return [(None, np.asarray(query))]
    return [(_version(version), np.asarray(each)) for version, each in by_version.items()]


class PinnedIndex(ItemIndex):
    """One generation."""

    def __enter__(self) -> PinnedIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        return None

    def gather(self, column: str, rows: ArrayLike) -> NDArray[Any]:
        at = np.asarray(rows)
        values = np.asarray(self.columns[column])[at]
        values[at < 0] = 0
        return values

    def model_versions_of(self, rows: ArrayLike) -> NDArray[np.int64]:
        g = self._native._newest  # type: ignore[attr-defined]
        return np.array([number for number, _ in g.versions], np.int64)[g.codes_of(np.asarray(rows))]
