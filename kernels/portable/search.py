"""Searching one generation: candidates to rows, rows to adjusted scores, scores to the k best, block by
block.

O(N·D + N/BLOCK·k log k); memory of a block and of k, however many candidates there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.kernels.portable.arrays import UNKNOWN_ROW, Float32, Int32, Int64, finite
from karec.kernels.portable.generation import Generation
from karec.kernels.portable.model_versions import on_one_scale
from karec.kernels.portable.rows import ReadyQuery, RowFormat

BLOCK = 1 << 14
BLOCKED_ROW = -2

Query = Sequence[tuple[int | None, Float32]]  # one for all rows (None), or one for each model version


@dataclass(frozen=True)
class Candidates:
    """Works by id or by row: one of the two."""

    ids: Int64 | None
    rows: Int32 | None = None
    generation: int = 0  # that the rows were found in; 0 = not said

    def __len__(self) -> int:
        return len(self.rows if self.ids is None else self.ids)  # type: ignore[arg-type]

    def part(self, first: int, end: int) -> Candidates:
        return Candidates(
            None if self.ids is None else self.ids[first:end],
            None if self.rows is None else self.rows[first:end],
        )

    def rows_in(self, g: Generation) -> Int32:
        """Rows that are there; −1 = unknown. A copy: what is checked is what is read, whoever writes to
        ``rows``."""
        rows = g.id_map.find(self.ids) if self.ids is not None else np.array(self.rows)
        return np.where((rows >= 0) & (rows < g.n_rows), rows, np.int32(UNKNOWN_ROW))


@dataclass(frozen=True)
class Found:
    """The best, best first, and how many candidates were skipped."""

    scores: Float32
    ids: Int64
    rows: Int32
    positions: Int64
    unknown: int
    blocked: int


class TopK:
    """The k best of scores offered in order of position, ties by position; NaN counts as −inf, −0 as +0."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.scores = np.zeros(0, np.float32)
        self.positions = np.zeros(0, np.int64)

    def offer(self, scores: Float32, positions: Int64) -> None:
        scores = np.where(np.isnan(scores), np.float32(-np.inf), scores + np.float32(0))
        if len(self.scores) == self.k and self.k:
            better = scores > self.scores[-1]
            scores, positions = scores[better], positions[better]
        scores, positions = np.append(self.scores, scores), np.append(self.positions, positions)
        best = np.argsort(-scores, kind="stable")[: self.k]
        self.scores, self.positions = scores[best], positions[best]


def check_query(g: Generation, query: Query, name: str) -> None:
    for version, values in query:
        finite(name if version is None else f"{name} of model version {version}", values)
    standing = g.standing
    if query and query[0][0] is None and len(standing) > 1:
        raise ValueError(
            f"the index holds vectors of model versions {', '.join(map(str, standing))}: "
            "give a query for each (query_by_version)"
        )


def check_generation(g: Generation, found_in: int) -> None:
    """ValueError for rows of another generation than g."""
    if found_in not in (0, g.number):
        raise ValueError(
            f"rows are of generation {found_in}, this reads generation {g.number}, where they may hold other "
            f"works: "
            "find and read rows on one view (pinned())"
        )


def check_rows(g: Generation, candidates: Candidates) -> None:
    check_generation(g, candidates.generation)
    rows = candidates.rows
    if rows is None or not len(rows) or (rows.min() >= UNKNOWN_ROW and rows.max() < g.n_rows):
        return
    own = rows.copy()  # the row that is named is one that is refused, whoever writes to the caller's array
    for at in np.flatnonzero((own < UNKNOWN_ROW) | (own >= g.n_rows))[:1]:
        raise ValueError(
            f"rows holds {own[at]} at position {at}, expected -1 (unknown) to {g.n_rows} (exclusive)"
        )


def search(g: Generation, query: Query, candidates: Candidates, k: int) -> Found:
    """The k best of the candidates, rescored where there are rows to do it from."""
    top = TopK(_to_rescore(g, min(k, len(candidates))))
    unknown = blocked = 0
    for first, rows, scores in scored(g, query, candidates):
        unknown += int(np.count_nonzero(rows == UNKNOWN_ROW))
        blocked += int(np.count_nonzero(rows == BLOCKED_ROW))
        known = np.flatnonzero(rows >= 0)
        top.offer(scores[known], first + known)
    top = _rescored(g, query, top, candidates, k)
    rows = _rows_at(g, candidates, top.positions)
    ids = g.ids[rows] if candidates.ids is None else candidates.ids[top.positions]
    return Found(top.scores, ids, rows, top.positions, unknown, blocked)


def search_all(
    g: Generation, queries: Sequence[Query], k: int, mask: NDArray[np.bool_] | None, n_probe: int | None
) -> list[Found]:
    """For each query the k best of all rows, or of those in ``n_probe`` lists, by row."""
    if n_probe is None or g.lists is None or g.list_of is None:
        return _search_all(g, queries, k, mask)
    found = []
    for query in queries:
        own = dict(query)
        probed = g.lists.probed(own.get(None, own.get(g.lists.model_version)), n_probe)
        read = probed[g.list_of]
        found += _search_all(g, [query], k, read if mask is None else read & mask)
    return found


def _search_all(
    g: Generation, queries: Sequence[Query], k: int, mask: NDArray[np.bool_] | None
) -> list[Found]:
    """A row is read once for all queries."""
    tops = [TopK(_to_rescore(g, k)) for _ in queries]
    ready = [_Ready(g, query, g.format) for query in queries]
    shown = np.ones(g.n_rows, np.bool_) if mask is None else mask
    for closed in (g.removed, g.blocked):
        shown = shown if closed is None else shown & ~closed
    rows_shown = np.flatnonzero(shown)
    for first in range(0, len(rows_shown), BLOCK):
        block = rows_shown[first : first + BLOCK].astype(np.int32)
        vectors = g.format.readable(g.rows[block])
        for top, each in zip(tops, ready, strict=True):
            rows, scores = each.score(block, vectors)
            known = rows >= 0
            top.offer(scores[known], block[known].astype(np.int64))
    everything = Candidates(None, np.arange(g.n_rows, dtype=np.int32)) if g.exact is not None else None
    found = []
    for top, query in zip(tops, queries, strict=True):
        best = top if everything is None else _rescored(g, query, top, everything, k)
        rows = best.positions.astype(np.int32)
        found.append(Found(best.scores, g.ids[rows], rows, best.positions, _works_without_query(g, query), 0))
    return found


def _works_without_query(g: Generation, query: Query) -> int:
    """Works of the model versions that ``query`` has no values for."""
    asked = {version for version, _ in query}
    return 0 if None in asked else sum(each.works for each in g.versions if each.number not in asked)


def scored(g: Generation, query: Query, candidates: Candidates) -> Iterator[tuple[int, Int32, Float32]]:
    """(first, rows, scores) block by block: rows are −1 where unknown, −2 where blocked, and scores void
    there."""
    ready = _Ready(g, query, g.format)
    for first in range(0, len(candidates), BLOCK):
        rows = candidates.part(first, first + BLOCK).rows_in(g)
        if g.blocked is not None:
            rows[(rows >= 0) & g.blocked[rows]] = BLOCKED_ROW
        if g.removed is not None:
            rows[(rows >= 0) & g.removed[rows]] = UNKNOWN_ROW
        known = rows >= 0
        scores = np.full(len(rows), -np.inf, np.float32)
        rows[known], scores[known] = ready.score(rows[known], g.format.readable(g.rows[rows[known]]))
        yield first, rows, scores


class _Ready:
    """A checked query, or one for each model version, against rows of one format."""

    def __init__(self, g: Generation, query: Query, row_format: RowFormat) -> None:
        self.g, self.format = g, row_format
        self.queries: list[ReadyQuery] = [row_format.ready(values) for _, values in query]
        by_version = {version: at for at, (version, _) in enumerate(query)}
        self.of_code = np.array(
            [by_version.get(None, by_version.get(each.number, -1)) for each in g.versions]
        )

    def score(self, rows: Int32, vectors: NDArray[Any]) -> tuple[Int32, Float32]:
        """Adjusted scores of ``rows``, all there; a row of a version without a query becomes −1."""
        scores = np.zeros(len(rows), np.float32)
        codes = self.g.codes_of(rows)
        of = self.of_code[codes]
        for at, query in enumerate(self.queries):
            own = of == at
            if own.all():
                scores = self.format.dot(vectors, query)
            elif own.any():
                scores[own] = self.format.dot(vectors[own], query)
        with np.errstate(all="ignore"):
            if self.format.scaled and self.g.scales is not None:
                scores = scores * self.g.scales[rows]
            scores = on_one_scale(self.g.versions, codes, scores)
            if self.g.adjustments is not None:
                scale, offset = self.g.adjustments[rows].T
                scores = scores * scale + offset
        return np.where(of < 0, np.int32(UNKNOWN_ROW), rows), scores


def _to_rescore(g: Generation, k: int) -> int:
    """How many to take at first, of which k are kept when float32 rows have spoken."""
    return k if g.exact is None else k + (k + 4) // 5


def _rows_at(g: Generation, candidates: Candidates, positions: Int64) -> Int32:
    if candidates.ids is not None:
        return g.id_map.find(candidates.ids[positions])
    assert candidates.rows is not None
    return Candidates(None, candidates.rows[positions]).rows_in(g)  # read again, so checked again


def _rescored(g: Generation, query: Query, top: TopK, candidates: Candidates, k: int) -> TopK:
    """The k best of ``top``, scored from float32 rows; ``top`` itself where there are none."""
    if g.exact is None:
        return top
    positions = np.sort(top.positions)
    rows = _rows_at(g, candidates, positions)
    exact = TopK(k)
    exact.offer(_Ready(g, query, g.exact_format).score(rows, g.exact[rows])[1], positions)
    return exact
