"""What a search of the item index answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.index.rows import Rows


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found, best first; unpacks as ``scores, ids = result``, FAISS's order.

    Ordered by score, largest first, equal scores by position in the input, lowest first. Of ``search`` every
    array is (n,) with n ≤ k. Of ``search_batch``, and of ``search_all`` with queries (B, D), every array is
    (B, n), and a list with fewer results than n ends in score −inf, id −1, row −1, position −1.

    scores      float32  inner product, adjusted
    ids         int64    work id
    rows        int32    row in the index, as ``Rows``, which know their index and generation
    positions   int64    place in the input list (``search_all``: the row)
    unknown     how many inputs were skipped: not in the index, or of a model version without a query
    generation  the generation of the index that answered
    blocked     how many inputs were skipped because they are blocked
    found       of ``search_batch`` and ``search_all`` with queries (B, D): (B,) int64, the length of each
                list
    """

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    rows: Rows
    positions: NDArray[np.int64]
    unknown: int
    generation: int
    blocked: int = 0
    found: NDArray[np.int64] | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.scores, self.ids))


def result_lists(
    scores: NDArray[np.float32],
    ids: NDArray[np.int64],
    rows: NDArray[np.int32],
    positions: NDArray[np.int64],
    counts: list[tuple[int, int, int, int]],
    generation: int,
    index: object,
) -> SearchResult:
    """Lists as the native index pads them; ``counts`` holds (unknown, blocked, generation, found) of each."""
    unknown, blocked = sum(c[0] for c in counts), sum(c[1] for c in counts)
    seen = counts[0][2] if counts else generation
    found = np.array([c[3] for c in counts], np.int64)
    return SearchResult(scores, ids, Rows.of(rows, seen, index), positions, unknown, seen, blocked, found)
