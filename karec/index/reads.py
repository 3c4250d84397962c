"""Calls that read an item index, for ``ItemIndex`` and ``IndexView``."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native as library
from karec.diversity import DiversityResult, DppOptions, check_dpp_options, scale_relevance
from karec.index.arrays import ArrayCache, IndexArrays
from karec.index.code_tables import Tables, list_tables
from karec.index.rows import Rows, check_index
from karec.index.search_result import SearchResult, VectorReader
from karec.index.versions import ModelVersion, list_queries
from karec.kernels.arguments import whole
from karec.where import Codes, Where, to_filter_terms

EMPTY: Codes = MappingProxyType({})


class IndexReads:
    """An index that is read. Each call of an ``ItemIndex`` reads the newest generation, a view its own.

    Returned rows are tagged with index and generation, and rows of others are rejected. Any number of threads
    may call.

    arrays  shared by an index and its views, and by no other index
    """

    def __init__(self, native: library.ItemIndex | library.IndexView, arrays: ArrayCache) -> None:
        self._native: library.ItemIndex | library.IndexView = native
        self._arrays = arrays
        self._index = arrays.index
        self._last: IndexArrays | None = None
        self._reference: weakref.ref[VectorReader] = weakref.ref(self)

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        columns = [name for name, _ in self._native.column_types]
        return (
            f"{type(self).__name__}({len(self)} × {self.dim} {self.dtype}, columns={columns}, "
            f"model_version={self.model_version}, generation={self.generation})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file beside ``path``, syncs and renames it: a reader gets the old file or the new one.

        Adjustments and blocks are saved. Rows of removed items are not saved, so that later rows move up.

        Raises:
            OSError: the file cannot be written.
            FileExistsError: ``path`` is a folder, a device, a FIFO or a symbolic link. Only a regular file is
                replaced.
        """
        self._native.save(os.fsencode(path))

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return self._native.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of stored vectors: float16, float32 or int8."""
        return np.dtype(self._native.dtype)

    @property
    def code_columns(self) -> tuple[str, ...]:
        """The names of the code columns, which tables of a query look up, in order."""
        return tuple(self._native.code_columns)

    @property
    def rescores(self) -> bool:
        """True if searches rescore their best items by float32 rows."""
        return self._native.rescores

    @property
    def isa(self) -> str:
        """The instruction set in use: amx, avx512bf16, avx512, avx2, neonbf16, neon or generic."""
        return library.isa()

    @property
    def n_rows(self) -> int:
        """The number of rows, with those of removed items. ``len(index)`` is the number of items."""
        return self._native.n_rows

    @property
    def n_lists(self) -> int:
        """The number of lists of ``ItemIndex.build_lists``, 0 without lists."""
        return self._native.n_lists

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all parts that grow with the items, mapped or allocated."""
        return self._native.bytes

    @property
    def model_version(self) -> int:
        """The version of the tower that made the newest vectors."""
        return self._native.model_version

    @property
    def model_versions(self) -> tuple[int, ...]:
        """The model versions of all vectors, ascending: several during a rolling refresh."""
        return tuple(self._native.model_versions)

    @property
    def versions(self) -> tuple[ModelVersion, ...]:
        """The vectors of each model version, ascending."""
        return tuple(ModelVersion(*version) for version in self._native.versions)

    @property
    def generation(self) -> int:
        """A number that names the contents: 1 after ``build``, one more after each write."""
        return self._native.generation

    @property
    def ids(self) -> NDArray[np.int64]:
        """(n_rows,) item ids by row, read-only, undefined where ``present`` is False. O(N) after a write."""
        return self._read_arrays().ids

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """{name: (n_rows,)} by row, read-only, undefined where ``present`` is False. O(N) after a write."""
        return self._read_arrays().columns

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n_rows,) bool: False where an item was removed or replaced. O(N) after a write."""
        arrays = self._read_arrays()
        return np.ones(len(arrays.ids), bool) if arrays.present is None else arrays.present

    def has_rows(self, rows: object) -> TypeGuard[Rows]:
        """Returns True if ``rows`` have the tag of this index and generation. O(1)."""
        return isinstance(rows, Rows) and rows.index is self._index and rows.generation == self.generation

    def lookup(self, ids: ArrayLike, known_rows: Rows | None = None) -> Rows:
        """Returns (N,) the row of each id, −1 for unknown ids. Expected O(1) for each id.

        Args:
            ids: (N,) int64.
            known_rows: (N,) rows of these ids that this index found, −1 for the ids to look up.

        Raises:
            ValueError: ``known_rows`` of another index, generation or length.
        """
        if known_rows is None:
            return Rows.from_array(*self._native.lookup(ids), self._index)
        if not self.has_rows(known_rows):
            raise ValueError(
                "known rows were found in another index or generation than the one that looks up the rest"
            )
        return Rows.from_array(*self._native.lookup(ids, known_rows), self._index)

    def search(
        self,
        queries: ArrayLike | Mapping[int, ArrayLike],
        k: int,
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        where: Where | None = None,
        codes: Codes = EMPTY,
        n_probe: int | None = None,
        tables: Tables | None = None,
    ) -> SearchResult:
        """Finds the ``k`` candidates with the largest score, the adjusted inner product with the query.

        Candidates are ``ids`` or ``rows``, otherwise all rows. Unknown ids, rows of −1 and rows of removed
        items are counted in ``n_unknown``, blocked candidates in ``n_blocked``; both are skipped. A search of
        all rows leaves blocked items out and counts in ``n_unknown`` items of a model version without a
        query. A candidate that appears twice is found twice.

        Args:
            queries: (D,) for one query or (B, D), float32. {model version: queries} scores each row with the
                query of its own version; it is required if the index has several versions.
            k: maximum number of items for each query.
            ids: (N,) int64, candidates of every query.
            rows: (N,) int32, candidates of every query, in place of ``ids``.
            mask: (n_rows,) bool for a search of all rows; False leaves a row out. Make it on the same view:
                in an index that others write to, rows added since are left out, and a row that was used
                again has the mask of its former item.
            where: a condition for a search of all rows, in place of ``mask``; other items are left out.
            codes: {category: {name: code}} for the names in ``where``. A negative value in the column of a
                category is missing.
            n_probe: for a search of all rows: scores only the items of the ``n_probe`` lists whose centroids
                have the largest inner products with the query, and items in no list (``build_lists``). Found
                items have their exact score. None, ``n_lists`` or more: the search is exact.
            tables: {code column: CodeTable} for one query, a list of such for (B, D), or {model version: …}
                if the queries are so. A score is the inner product plus the value of each table for the
                item's code. Lists are chosen without them. None: without tables, for one version too.

        Returns:
            Arrays (n,) for one query and (B, n) for several, n = min(k, number of candidates).

        Raises:
            ValueError: k ≤ 0, n_probe ≤ 0, an index without lists, rows of another index or generation, a row
                outside [−1, n_rows), shapes that do not fit, NaN or infinity, one query for several model
                versions, tables that are not one for each code column, codes that do not ascend, or arguments
                that exclude each other.

        Cost: O(B·N·D + k log k), in one pass over all rows without ``ids`` and ``rows``.
        """
        by_version = list_queries(queries)
        by_column = list_tables(tables, by_version, self._native)
        if ids is None and rows is None:
            n_probe = None if n_probe is None else whole("n_probe", n_probe)
            if mask is not None and where is not None:
                raise ValueError("give either mask= or where=")
            row_filter = None if where is None else self.compile_filter(where, codes)
            found = self._native.search_all(by_version, by_column, whole("k", k), mask, row_filter, n_probe)
        elif mask is not None or where is not None or n_probe is not None:
            raise ValueError("mask, where and n_probe are for a search of all rows, without ids= and rows=")
        else:
            self._check_candidates(ids, rows)
            found = self._native.search(by_version, by_column, ids, rows, whole("k", k))
        scores, found_ids, found_rows, positions, counts = found
        n_found = None
        if scores.ndim == 1:
            n_unknown, n_blocked, generation, _ = counts[0]
        else:
            n_unknown, n_blocked = sum([count[0] for count in counts]), sum([count[1] for count in counts])
            generation = counts[0][2] if counts else self.generation
            n_found = np.array([count[3] for count in counts], np.int64)
        tagged_rows = Rows.from_array(found_rows, generation, self._index)
        counted = n_unknown, generation, n_blocked, n_found
        return SearchResult(scores, found_ids, tagged_rows, positions, *counted, self._reference)

    def compile_filter(self, where: Where | None, codes: Codes = EMPTY) -> library.Filter:
        """Returns the native filter of a condition, for ``IndexView.mask``; None: of all items.

        Raises ValueError for an unknown column, or a value of another type than the column.
        """
        dtypes = {name: np.dtype(dtype) for name, dtype in self._native.column_types}
        return library.Filter([] if where is None else to_filter_terms(where, dtypes, codes))

    def scores(
        self,
        query: ArrayLike | Mapping[int, ArrayLike],
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        out: NDArray[np.float32] | None = None,
        tables: Tables | None = None,
    ) -> NDArray[np.float32]:
        """Returns (N,) the score of each candidate in input order, −inf where a search skips it. O(N·D).

        Scores of int8 rows are not rescored.

        Args:
            query: (D,) float32, or {model version: (D,)}, as in ``search``.
            ids: (N,) int64, or ``rows`` (N,) int32.
            out: (N,) float32, C-contiguous, aligned and writeable. It is filled and returned in place of a
                new array.
            tables: {code column: CodeTable}, or {model version: …}, as in ``search``.

        Raises:
            ValueError: as ``search``.
        """
        self._check_candidates(ids, rows)
        by_version = list_queries(query)
        by_column = list_tables(tables, by_version, self._native)
        return self._native.scores(by_version, by_column, ids, rows, out)

    def is_open(self, *, ids: ArrayLike | None = None, rows: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Returns (N,) bool: True for candidates that are in the index and not blocked. O(N·D).

        Args:
            ids: (N,) int64, or ``rows`` (N,) int32.
        """
        zeros = np.zeros(self.dim, np.float32)
        by_version = dict.fromkeys(self.model_versions, zeros)
        if not by_version:
            return np.zeros(len(np.asarray(rows if ids is None else ids)), bool)
        return np.isfinite(self.scores(by_version, ids=ids, rows=rows))

    def dpp_select(
        self, rows: ArrayLike, relevance: ArrayLike, k: int, **options: Unpack[DppOptions]
    ) -> DiversityResult:
        """Selects items of ``rows`` as ``karec.diversity.dpp_select`` does, without a copy of vectors.

        Args:
            rows: (N,) int32. Indices of the result are positions in it.
            relevance: (N,) float32.
            k, options: as in ``karec.diversity.dpp_select``.

        Raises:
            ValueError: as ``karec.diversity.dpp_select``, or rows of another index or generation, or a row
                without an item (−1, or removed), with the first position.
        """
        check_index(rows, self._index)
        native_options = check_dpp_options(**options)
        relevance = scale_relevance(relevance, options.get("standardise", False))
        return DiversityResult(*self._native.dpp_select(rows, relevance, whole("k", k), **native_options))

    def embeddings(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Returns (N, D) the vectors of ``rows`` (N,), zeros for row −1 and rows of removed items.

        Raises ValueError for rows of another index or generation or outside [−1, n_rows).
        """
        check_index(rows, self._index)
        return self._native.embeddings(rows)

    def gather(self, column: str, rows: ArrayLike) -> NDArray[Any]:
        """Returns (N,) the column at ``rows`` (N,), 0 for row −1 and rows of removed items. O(N).

        Raises ValueError for an unknown column, and for rows of another index or generation or outside
        [−1, n_rows).
        """
        check_index(rows, self._index)
        return self._native.gather(column, rows)

    def model_versions_of(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Returns (N,) the model version of each row's vector, 0 for row −1 and rows of removed items. O(N).

        Vectors of two versions are in two spaces: their inner product means nothing. Raises ValueError for
        rows of another index or generation or outside [−1, n_rows).
        """
        check_index(rows, self._index)
        return self._native.model_versions_of(rows)

    def _read_arrays(self) -> IndexArrays:
        arrays = self._last
        if arrays is None or arrays.generation != self.generation:
            self._last = arrays = self._arrays.read(self._native)
        return arrays

    def _check_candidates(self, ids: ArrayLike | None, rows: ArrayLike | None) -> None:
        if (ids is None) == (rows is None):
            raise ValueError("give the candidates either as ids= or as rows=")
        check_index(rows, self._index)
