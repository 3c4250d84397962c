"""What a portable index and a view of it have in common: everything that is read, from one generation a
call."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec._files import file_aside
from karec.kernels.option_values import positive, positive_or_none
from karec.kernels.portable.arrays import (
    UNKNOWN_ROW,
    Float32,
    Float64,
    Int32,
    Int64,
    check_indptr,
    generation_of,
    indptr_input,
    int64_input,
    read_only,
    rows_input,
)
from karec.kernels.portable.dpp import selected
from karec.kernels.portable.dpp_problem import DppProblem
from karec.kernels.portable.generation import Generation
from karec.kernels.portable.index_file import index_bytes
from karec.kernels.portable.index_inputs import (
    Queries,
    candidate_input,
    check_map,
    mask_input,
    queries_input,
    query_input,
    rows_in,
)
from karec.kernels.portable.search import (
    Candidates,
    Found,
    check_generation,
    check_query,
    check_rows,
    scored,
    search,
    search_all,
)

Counts = tuple[int, int, int, int]  # unknown, blocked, generation, found
Lists = tuple[Float32, Int64, Int32, Int64, list[Counts]]


class IndexReads:
    def _generation(self) -> Generation:
        """What this call reads, from its start to its end."""
        raise NotImplementedError

    def save(self, path: bytes) -> None:
        g = self._generation()
        check_map(g)
        with file_aside(path) as file:
            for piece in index_bytes(g.compacted()):
                file.write(piece)

    def __len__(self) -> int:
        return self._generation().n_works

    @property
    def n_rows(self) -> int:
        return self._generation().n_rows

    @property
    def dim(self) -> int:
        return self._generation().format.dim

    @property
    def dtype(self) -> str:
        return self._generation().format.dtype

    @property
    def rescores(self) -> bool:
        return self._generation().exact is not None

    @property
    def model_version(self) -> int:
        return self._generation().model_version

    @property
    def model_versions(self) -> list[int]:
        return sorted(self._generation().standing)

    @property
    def versions(self) -> list[tuple[int, int, int, float, float]]:
        return sorted(version for version in self._generation().versions if version.works)

    @property
    def generation(self) -> int:
        return self._generation().number

    @property
    def n_lists(self) -> int:
        lists = self._generation().lists
        return 0 if lists is None else lists.n

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self._generation().arrays())

    @property
    def column_types(self) -> list[tuple[str, str]]:
        return [(name, column.dtype.name) for name, column in self._generation().columns.items()]

    def table(self) -> tuple[int, Int64, dict[str, NDArray[Any]], NDArray[np.bool_] | None]:
        g = self._generation()
        present = g.present()
        columns = {name: read_only(column) for name, column in g.columns.items()}
        return g.number, read_only(g.ids), columns, None if present is None else read_only(present)

    def lookup(self, ids: ArrayLike, known: ArrayLike | None = None) -> tuple[Int32, int]:
        g, keys = self._generation(), int64_input(ids, "ids", ("N",))
        if known is None:
            return Candidates(keys).rows_in(g), g.number
        rows = np.array(known, np.int32)
        if rows.shape != keys.shape:
            raise ValueError(f"known has shape {rows.shape}, expected {keys.shape} as ids has")
        others = rows < 0
        rows[others] = Candidates(keys[others]).rows_in(g)
        return rows, g.number

    def search(
        self, query: Queries, ids: ArrayLike | None, rows: ArrayLike | None, k: int
    ) -> tuple[Float32, Int64, Int32, Int64, Counts]:
        g = self._generation()
        positive("k", k)
        one, candidates = query_input(query, g), candidate_input(ids, rows)
        check_query(g, one, "query")
        check_rows(g, candidates)
        found = search(g, one, candidates, k)
        return found.scores, found.ids, found.rows, found.positions, _counts(g, found)

    def search_batch(
        self, queries: Queries, ids: ArrayLike | None, rows: ArrayLike | None, indptr: ArrayLike, k: int
    ) -> Lists:
        g = self._generation()
        positive("k", k)
        users = queries_input(queries, g)
        candidates = candidate_input(ids, rows)
        ends = indptr_input(
            indptr, "indptr", (len(users) + 1,), f"queries has {len(users)} rows (one more than users)"
        )
        check_indptr("indptr", ends, len(candidates))
        check_rows(g, candidates)
        for user, query in enumerate(users):
            check_query(g, query, f"query {user}")
        parts = [candidates.part(int(first), int(end)) for first, end in pairwise(ends)]
        width = min(k, max(map(len, parts), default=0))
        return _lists(g, width, [search(g, query, part, k) for query, part in zip(users, parts, strict=True)])

    def search_all(self, queries: Queries, k: int, mask: ArrayLike | None, n_probe: int | None) -> Lists:
        g = self._generation()
        positive("k", k)
        positive_or_none("n_probe", n_probe)
        each = queries_input(queries, g)
        kept = None if mask is None else mask_input(mask, g)
        for at, query in enumerate(each):
            check_query(g, query, "query" if len(each) == 1 else f"query {at}")
        if n_probe is not None and g.lists is None:
            raise ValueError("the index has no lists to probe: build_lists() makes them")
        width = min(k, g.n_works)
        return _lists(g, width, search_all(g, each, width, kept, n_probe))

    def scores(
        self, query: Queries, ids: ArrayLike | None, rows: ArrayLike | None, out: Float32 | None
    ) -> tuple[Float32, Counts]:
        g = self._generation()
        one, candidates = query_input(query, g), candidate_input(ids, rows)
        to = np.empty(len(candidates), np.float32) if out is None else np.asarray(out)
        fits = to.dtype == np.float32 and to.flags.c_contiguous and to.flags.aligned and to.flags.writeable
        if not fits or to.shape != (len(candidates),):
            raise ValueError(
                f"out has shape {to.shape} and dtype {to.dtype}, expected ({len(candidates)},) float32, "
                "C-contiguous, aligned and writeable"
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
        g = self._generation()
        at = rows_in(g, rows)
        return g.vectors(at, g.holds_works(at))

    def gather(self, column: str, rows: ArrayLike) -> NDArray[Any]:
        g = self._generation()
        if column not in g.columns:
            raise ValueError(f"the index has no column '{column}'")
        at = rows_in(g, rows)
        shown = g.holds_works(at)
        values = np.zeros(len(at), g.columns[column].dtype)
        values[shown] = g.columns[column][at[shown]]
        return values

    def model_versions_of(self, rows: ArrayLike) -> Int64:
        g = self._generation()
        at = rows_in(g, rows)
        shown = g.holds_works(at)
        values = np.zeros(len(at), np.int64)
        values[shown] = g.numbers_of(at[shown])
        return values

    def dpp_select(
        self, rows: ArrayLike, relevance: ArrayLike, k: int, **options: Any
    ) -> tuple[Int64, Float64, float, int]:
        g = self._generation()
        positive("k", k)
        at = rows_input(rows).copy()  # what is checked is what is read, whoever writes to the caller's array
        check_generation(g, generation_of(rows))
        void = np.flatnonzero(~g.holds_works(at))
        if len(void):
            raise ValueError(f"rows holds {at[void[0]]} at position {void[0]}: no work stands there")
        vectors = g.vectors(at, np.ones(len(at), np.bool_))
        return selected(DppProblem.of(vectors, relevance, f"rows has shape {at.shape}", **options), k)


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
