"""The portable item index: ``karec._native.ItemIndex`` in NumPy and Numba, with the same results and the same file.

An index is a reference to a generation. A read takes the reference once and sees that generation to its end, waits for
nobody, and nobody waits for it; a write makes the next generation under a lock and swaps the reference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.errors import IndexFormatError
from karec.kernels.option_values import positive
from karec.kernels.portable.arrays import (
    MOST_ROWS,
    UNKNOWN_ROW,
    Float32,
    Int32,
    Int64,
    bool_input,
    check_indptr,
    finite,
    float32_input,
    int64_input,
    matrix_input,
    read_only,
    rows_input,
)
from karec.kernels.portable.generation import Generation
from karec.kernels.portable.index_file import index_bytes, map_file, read_index
from karec.kernels.portable.index_inputs import (
    Columns,
    Queries,
    candidate_input,
    check_map,
    check_same_columns,
    check_unique,
    column_inputs,
    queries_input,
    query_input,
)
from karec.kernels.portable.index_layout import STORED, name_fits
from karec.kernels.portable.new_file import write_aside
from karec.kernels.portable.rows import check_vectors
from karec.kernels.portable.search import Candidates, Found, check_query, check_rows, scored, search, search_all

Counts = tuple[int, int, int, int]  # unknown, blocked, generation, found
Lists = tuple[Float32, Int64, Int32, Int64, list[Counts]]


class ItemIndex:
    def __init__(self, first: Generation) -> None:
        self._newest = first
        self._writing = threading.Lock()

    @staticmethod
    def build(
        ids: ArrayLike, embeddings: ArrayLike, dtype: str, columns: Columns, model_version: int, rescore: bool
    ) -> ItemIndex:
        if dtype not in STORED:
            raise ValueError(f"dtype must be 'float16', 'float32' or 'int8', got '{dtype}'")
        keys = int64_input(ids, "ids", ("N",))
        vectors = matrix_input(embeddings, "embeddings", (len(keys), "D"), f"ids has shape {keys.shape}")
        values = column_inputs(columns, keys)
        if rescore and dtype != "int8":
            raise ValueError("rescore is for int8 rows: others are what it would rescore from")
        check_vectors(vectors, dtype)
        if len(keys) > MOST_ROWS:
            raise ValueError(f"an index holds at most 2^31 − 1 rows, got {len(keys)}")
        for name in values:
            if not name_fits(name):
                raise ValueError(f"a column's name has 1 to 95 bytes of UTF-8, got '{name}'")
        check_unique(keys)
        return ItemIndex(Generation.first(keys, vectors, dtype, values, model_version, rescore))

    @staticmethod
    def open(path: bytes, verify: bool) -> ItemIndex:
        try:
            return ItemIndex(read_index(map_file(path), verify))
        except IndexFormatError as error:
            raise IndexFormatError(f"{path.decode(errors='surrogateescape')}: {error}") from None

    def save(self, path: bytes) -> None:
        g = self._newest
        check_map(g)
        write_aside(path, index_bytes(g.compacted()))

    def __len__(self) -> int:
        return self._newest.n_works

    @property
    def n_rows(self) -> int:
        return self._newest.n_rows

    @property
    def dim(self) -> int:
        return self._newest.format.dim

    @property
    def dtype(self) -> str:
        return self._newest.format.dtype

    @property
    def rescores(self) -> bool:
        return self._newest.exact is not None

    @property
    def model_version(self) -> int:
        return self._newest.model_version

    @property
    def model_versions(self) -> list[int]:
        return sorted(self._newest.standing)

    @property
    def generation(self) -> int:
        return self._newest.number

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self._newest.arrays())

    @property
    def column_types(self) -> list[tuple[str, str]]:
        return [(name, column.dtype.name) for name, column in self._newest.columns.items()]

    def table(self) -> tuple[int, Int64, dict[str, NDArray[Any]], NDArray[np.bool_] | None]:
        g = self._newest
        present = g.present()
        columns = {name: read_only(column) for name, column in g.columns.items()}
        return g.number, read_only(g.ids), columns, None if present is None else read_only(present)

    def upsert(self, ids: ArrayLike, embeddings: ArrayLike, columns: Columns, model_version: int) -> None:
        keys = int64_input(ids, "ids", ("N",))
        vectors = matrix_input(embeddings, "embeddings", (len(keys), self.dim), f"ids has shape {keys.shape}")
        values = column_inputs(columns, keys)
        check_vectors(vectors, self.dtype)
        check_unique(keys)
        with self._writing:
            g = self._newest
            check_map(g)
            check_same_columns(g, values)
            if len(keys):
                self._newest = g.with_works(keys, vectors, values, model_version)
            else:
                self._newest = replace(g, map_verified=True)

    def remove(self, ids: ArrayLike) -> int:
        return self._write(ids, lambda g, rows, _: g.without(_first_of_each(rows)), verified=True)

    def block(self, ids: ArrayLike) -> int:
        return self._write(ids, lambda g, rows, _: g.with_blocked(rows, True))

    def unblock(self, ids: ArrayLike) -> int:
        return self._write(ids, lambda g, rows, _: g.with_blocked(rows, False))

    def adjust(self, ids: ArrayLike, scale: ArrayLike | None, offset: ArrayLike | None) -> int:
        keys = int64_input(ids, "ids", ("N",))

        def half(value: ArrayLike | None, name: str) -> Float32 | None:
            if value is None:
                return None
            return finite(name, float32_input(value, name, keys.shape, f"ids has shape {keys.shape}"))

        scales, offsets = half(scale, "scale"), half(offset, "offset")

        def change(g: Generation, rows: Int64, known: NDArray[np.bool_]) -> Generation:
            return g.with_adjustments(rows, *(None if x is None else x[known] for x in (scales, offsets)))

        return self._write(keys, change)

    def lookup(self, ids: ArrayLike) -> Int32:
        return Candidates(int64_input(ids, "ids", ("N",)), None).rows_in(self._newest)

    def search(
        self, query: Queries, ids: ArrayLike | None, rows: ArrayLike | None, k: int
    ) -> tuple[Float32, Int64, Int32, Int64, Counts]:
        g = self._newest
        positive("k", k)
        one, candidates = query_input(query, g), candidate_input(ids, rows)
        check_query(g, one, "query")
        check_rows(g, candidates)
        found = search(g, one, candidates, k)
        return found.scores, found.ids, found.rows, found.positions, _counts(g, found)

    def search_batch(
        self, queries: Queries, ids: ArrayLike | None, rows: ArrayLike | None, indptr: ArrayLike, k: int
    ) -> Lists:
        g = self._newest
        positive("k", k)
        users = queries_input(queries, g)
        candidates = candidate_input(ids, rows)
        ends = int64_input(indptr, "indptr", (len(users) + 1,), f"queries has {len(users)} rows (one more than users)")
        check_indptr("indptr", ends, len(candidates))
        check_rows(g, candidates)
        for user, query in enumerate(users):
            check_query(g, query, f"query {user}")
        parts = [candidates.part(int(first), int(end)) for first, end in pairwise(ends)]
        width = min(k, max(map(len, parts), default=0))
        return _lists(g, width, [search(g, query, part, k) for query, part in zip(users, parts, strict=True)])

    def search_all(self, queries: Queries, k: int, mask: ArrayLike | None) -> Lists:
        g = self._newest
        positive("k", k)
        each = queries_input(queries, g)
        kept = None if mask is None else bool_input(mask, "mask", (g.n_rows,))
        for at, query in enumerate(each):
            check_query(g, query, "query" if len(each) == 1 else f"query {at}")
        width = min(k, g.n_works)
        return _lists(g, width, search_all(g, each, width, kept))

    def scores(
        self, query: Queries, ids: ArrayLike | None, rows: ArrayLike | None, out: Float32 | None
    ) -> tuple[Float32, Counts]:
        g = self._newest
        one, candidates = query_input(query, g), candidate_input(ids, rows)
        to = np.empty(len(candidates), np.float32) if out is None else np.asarray(out)
        fits = to.dtype == np.float32 and to.flags.c_contiguous and to.flags.writeable
        if not fits or to.shape != (len(candidates),):
            raise ValueError(
                f"out has shape {to.shape} and dtype {to.dtype}, expected ({len(candidates)},) float32, "
                "C-contiguous and writeable"
            )
        check_query(g, one, "query")
        check_rows(g, candidates)
        unknown = blocked = 0
        for first, at, values in scored(g, one, candidates):
            skipped = (at < 0) | np.isnan(values)
            to[first : first + len(at)] = np.where(skipped, np.float32(-np.inf), values)
            unknown += int(np.count_nonzero(at == UNKNOWN_ROW))
            blocked += int(np.count_nonzero(at < UNKNOWN_ROW))
        return to, (unknown, blocked, g.number, len(to) - unknown - blocked)

    def embeddings(self, rows: ArrayLike) -> Float32:
        g = self._newest
        at = rows_input(rows)
        check_rows(g, Candidates(None, at))
        return g.vectors(at, g.holds_works(at))

    def works_at(self, rows: Int32) -> Float32:
        """(N, D) the vectors of ``rows``; ValueError naming the first that holds no work."""
        g = self._newest
        void = np.flatnonzero(~g.holds_works(rows))
        if len(void):
            raise ValueError(f"rows holds {rows[void[0]]} at position {void[0]}: no work stands there")
        return g.vectors(rows, np.ones(len(rows), np.bool_))

    def _write(
        self,
        ids: ArrayLike,
        change: Callable[[Generation, Int64, NDArray[np.bool_]], Generation],
        verified: bool = False,
    ) -> int:
        """Publishes what ``change`` makes of the known ids' rows; the number of unknown ids."""
        keys = int64_input(ids, "ids", ("N",))
        with self._writing:
            g = self._newest
            if verified:
                check_map(g)
            rows = Candidates(keys, None).rows_in(g)
            known = rows >= 0
            if known.any():
                self._newest = change(g, rows[known].astype(np.int64), known)
        return int(np.count_nonzero(~known))


def _first_of_each(rows: Int64) -> Int64:
    """Without repeats, in order."""
    return rows[np.sort(np.unique(rows, return_index=True)[1])]


def _counts(g: Generation, found: Found) -> Counts:
    return found.unknown, found.blocked, g.number, len(found.scores)


def _lists(g: Generation, width: int, found: list[Found]) -> Lists:
    """One list below the other, padded to ``width`` with −inf and −1."""
    shape = (len(found), width)
    scores, ids = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    rows, positions = np.full(shape, UNKNOWN_ROW, np.int32), np.full(shape, -1, np.int64)
    for user, each in enumerate(found):
        n = len(each.scores)
        scores[user, :n], ids[user, :n] = each.scores, each.ids
        rows[user, :n], positions[user, :n] = each.rows, each.positions
    return scores, ids, rows, positions, [_counts(g, each) for each in found]
