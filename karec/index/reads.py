"""What an item index and a view of it have in common: everything that is read.

``ItemIndex`` reads the newest generation, anew in each call; ``IndexView`` reads the one that it holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeGuard, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native as library
from karec.diversity import DiversityResult, DppOptions, check_dpp_options, scale_relevance
from karec.index.arrays import NewestTable, Table
from karec.index.rows import Rows, check_index
from karec.index.search_result import SearchResult, result_lists
from karec.index.versions import ModelVersion, versioned
from karec.kernels.arguments import whole


class IndexReads:
    """The reading calls. Rows that a call returns know its index and generation; rows of others are refused.

    tables  shared by an index and its views, and by no other index: rows are tagged with ``tables.index``
    """

    def __init__(self, native: library.ItemIndex | library.IndexView, tables: NewestTable) -> None:
        self._native: library.ItemIndex | library.IndexView = native
        self._tables = tables
        self._index = tables.index
        self._read: Table | None = None

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        columns = [name for name, _ in self._native.column_types]
        return (
            f"{type(self).__name__}({len(self)} × {self.dim} {self.dtype}, columns={columns}, "
            f"model_version={self.model_version}, generation={self.generation})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes beside ``path``, syncs, renames: whoever opens ``path`` gets the old file or the whole new
        one.

        Adjustments and blocks are saved; rows of removed works are not, so that the rows behind them move up.

        OSError: it cannot be written. FileExistsError: ``path`` is a folder, a device, a FIFO or a symbolic
        link, even one to a regular file; only a regular file is replaced.
        """
        self._native.save(os.fsencode(path))

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
        """The instruction set that runs: ``amx``, ``avx512``, ``avx2`` or ``generic``."""
        return library.isa()

    @property
    def n_rows(self) -> int:
        """Rows, with those that removed works left behind: every row is below. ``len(index)`` counts
        works."""
        return self._native.n_rows

    @property
    def n_lists(self) -> int:
        """How many lists works are in; 0 = there are none (``ItemIndex.build_lists``)."""
        return self._native.n_lists

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
    def versions(self) -> tuple[ModelVersion, ...]:
        """What is known of the vectors of each model version, ascending."""
        return tuple(ModelVersion(*each) for each in self._native.versions)

    @property
    def generation(self) -> int:
        """Names the contents: the same number, the same contents. 1 after ``build``, one more with each
        write."""
        return self._native.generation

    @property
    def ids(self) -> NDArray[np.int64]:
        """(n_rows,) the id of each row, read-only; void where ``present`` is False. O(N) after a write."""
        return self._table().ids

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """{name: (n_rows,)} by row, read-only; void where ``present`` is False. O(N) after a write."""
        return self._table().columns

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n_rows,) whether a row holds a work: False where one was removed or replaced. O(N) after a
        write."""
        table = self._table()
        return np.ones(len(table.ids), bool) if table.present is None else table.present

    def found_here(self, rows: object) -> TypeGuard[Rows]:
        """Whether ``rows`` are known to have been found in this index and generation. O(1)."""
        return isinstance(rows, Rows) and rows.index is self._index and rows.generation == self.generation

    def lookup(self, ids: ArrayLike, known: Rows | None = None) -> Rows:
        """(N,) the row of each id, −1 = unknown. Expected O(1) an id.

        known  (N,) rows of these ids that were found here, and −1 where none was: those alone are looked up

        ValueError: ``known`` of another index, generation or length.
        """
        if known is None:
            return Rows.of(*self._native.lookup(ids), self._index)
        if not self.found_here(known):
            raise ValueError(
                "known rows were found in another index or generation than the one that looks up the rest"
            )
        return Rows.of(*self._native.lookup(ids, known), self._index)

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

        Candidates are given as ``ids`` (N,) int64 or as ``rows`` (N,) int32, one of the two. Unknown ids, and
        rows of −1 or of removed works, are skipped and counted in ``.unknown``, blocked ones in ``.blocked``.
        A candidate that stands twice is found twice. k > N gives N.

        query_by_version  {model version: (D,)} instead of ``query``: each row meets the query of its own
                          version

        ValueError: k ≤ 0, rows of another index or generation, a row outside [−1, n_rows), a query of another
        length, NaN or infinity in it, one query for an index that holds vectors of several model versions.
        """
        self._check_candidates(ids, rows)
        asked = versioned(query, query_by_version)
        scores, found, at, positions, counts = self._native.search(asked, ids, rows, whole("k", k))
        unknown, blocked, generation, _ = counts
        tagged = Rows.of(at, generation, self._index)
        return SearchResult(scores, found, tagged, positions, unknown, generation, blocked)

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

        Arrays are (B, n), n = min(k, the longest list), padded as ``SearchResult`` says; ``.found`` counts
        each list. ValueError as in ``search``, or indptr that falls or does not span the candidates.
        """
        self._check_candidates(ids, rows)
        scores, found, at, positions, counts = self._native.search_batch(
            versioned(queries, query_by_version), ids, rows, indptr, whole("k", k)
        )
        return result_lists(scores, found, at, positions, counts, self.generation, self._index)

    def search_all(
        self,
        queries: ArrayLike | None = None,
        k: int = 1000,
        mask: ArrayLike | None = None,
        *,
        n_probe: int | None = None,
        query_by_version: Mapping[int, ArrayLike] | None = None,
    ) -> SearchResult:
        """The ``k`` best of all rows, for one query (D,) or for several (B, D). Exact: O(B·N·D), one pass
        over rows.

        mask              (n_rows,) bool, False leaves a row out. Make it on the same view: where others
                          write, an index may hold other works in these rows by then, and rows that came since
                          are left out
        n_probe           None scores every row. With a number, only the works of so many lists are scored,
                          those whose centroids have the largest inner products with the query, and the works
                          that are in no list (``build_lists``). What is found has its exact score; a work of
                          another list is missed, whatever its adjustment. ``n_lists`` of them, or more, give
                          the exact result
        query_by_version  {model version: (D,) or (B, D)} instead of ``queries``

        Blocked works are left out. ``.unknown`` counts works of a model version without a query. For queries
        (B, D) results are (B, min(k, N)), padded as ``SearchResult`` says. ValueError as in ``search``;
        n_probe ≤ 0, or an index without lists.
        """
        asked = versioned(queries, query_by_version)
        one = all(array.ndim == 1 for _, array in asked)
        stacked = [(version, np.atleast_2d(array)) for version, array in asked]
        scores, found, rows, positions, counts = self._native.search_all(
            stacked, whole("k", k), mask, None if n_probe is None else whole("n_probe", n_probe)
        )
        if not one:
            return result_lists(scores, found, rows, positions, counts, self.generation, self._index)
        unknown, _, generation, n = counts[0]
        best = Rows.of(rows[0, :n], generation, self._index)
        return SearchResult(scores[0, :n], found[0, :n], best, positions[0, :n], unknown, generation)

    def scores(
        self,
        query: ArrayLike | None = None,
        *,
        ids: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        out: NDArray[np.float32] | None = None,
        query_by_version: Mapping[int, ArrayLike] | None = None,
    ) -> NDArray[np.float32]:
        """(N,) the adjusted score of each candidate, in input order; −inf where a search would skip it.
        O(N·D).

        out  (N,) float32, C-contiguous, aligned, writeable: filled and returned instead of a new array

        Scores of int8 rows are not rescored. Otherwise as ``search``.
        """
        self._check_candidates(ids, rows)
        return self._native.scores(versioned(query, query_by_version), ids, rows, out)[0]

    def is_open(self, *, ids: ArrayLike | None = None, rows: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Returns (N,) bool: True for candidates that a search would not skip as unknown or blocked. O(N·D).

        Args: ``ids`` (N,) int64 or ``rows`` (N,) int32, one of the two.
        """
        zeros = np.zeros(self.dim, np.float32)
        by_version = dict.fromkeys(self.model_versions, zeros)
        if not by_version:
            return np.zeros(len(np.asarray(rows if ids is None else ids)), bool)
        return np.isfinite(self.scores(ids=ids, rows=rows, query_by_version=by_version))

    def dpp_select(
        self, rows: ArrayLike, relevance: ArrayLike, k: int, **options: Unpack[DppOptions]
    ) -> DiversityResult:
        """``karec.diversity.dpp_select`` among the works of ``rows``, whose vectors are read where they lie.

        rows       (N,) int32; the result's indices are places in it
        relevance  (N,) float32
        options    as in ``karec.diversity.dpp_select``

        The same result as ``dpp_select(index.embeddings(rows), relevance, k, …)``, without that copy.
        ValueError as there, or rows of another index or generation, or a row that holds no work (−1, or one
        that was removed), naming the first.
        """
        check_index(rows, self._index)
        native = check_dpp_options(**options)
        relevance = scale_relevance(relevance, options.get("standardise", False))
        return DiversityResult(*self._native.dpp_select(rows, relevance, whole("k", k), **native))

    def embeddings(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(N, D) the vectors of ``rows`` (N,) as float32; zeros for row −1 and for rows of removed works.

        ValueError: rows of another index or generation, a row outside [−1, n_rows).
        """
        check_index(rows, self._index)
        return self._native.embeddings(rows)

    def gather(self, column: str, rows: ArrayLike) -> NDArray[Any]:
        """(N,) the column at ``rows`` (N,), in its dtype; 0 for row −1 and for rows of removed works. O(N).

        ValueError: no such column, rows of another index or generation, a row outside [−1, n_rows).
        """
        check_index(rows, self._index)
        return self._native.gather(column, rows)

    def model_versions_of(self, rows: ArrayLike) -> NDArray[np.int64]:
        """(N,) the model version of the vector at each of ``rows`` (N,); 0 for row −1 and for rows of removed
        works.

        Vectors of two versions lie in two spaces: their inner product means nothing. ValueError as in
        ``gather``. O(N).
        """
        check_index(rows, self._index)
        return self._native.model_versions_of(rows)

    def _table(self) -> Table:
        table = self._read
        if table is None or table.generation != self.generation:
            self._read = table = self._tables.of(self._native)
        return table

    def _check_candidates(self, ids: ArrayLike | None, rows: ArrayLike | None) -> None:
        if (ids is None) == (rows is None):
            raise ValueError("give the candidates either as ids= or as rows=")
        check_index(rows, self._index)
