"""Result of a search in an item index."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity import DiversityResult, DppOptions
from karec.index.rows import Rows


class VectorReader(Protocol):
    """An index or a view of it, which has the vectors of the rows that it found."""

    def dpp_select(
        self, rows: ArrayLike, relevance: ArrayLike, k: int, **options: Unpack[DppOptions]
    ) -> DiversityResult: ...


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Items that a search found, best first; unpacks as ``scores, ids = result``, in FAISS's order.

    Scores are descending; equal scores are ordered by position in the input, lowest first. One query (D,) has
    arrays (n,), n ≤ k. Queries (B, D) have arrays (B, n), and a list with fewer than n items ends in score
    −inf, id −1, row −1 and position −1. A result keeps no generation of the index alive.

    scores      float32  inner products, adjusted
    ids         int64    item ids
    rows        int32    rows of the index, tagged with index and generation
    positions   int64    positions in the input list; the row, in a search of all rows
    n_unknown   number of inputs that are not in the index, or of a model version without a query
    generation  generation of the index that was searched
    n_blocked   number of inputs that are blocked
    n_found     (B,) int64, length of each list, for queries (B, D)
    reader      index or view that was searched
    """

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    rows: Rows
    positions: NDArray[np.int64]
    n_unknown: int
    generation: int
    n_blocked: int = 0
    n_found: NDArray[np.int64] | None = None
    reader: weakref.ref[VectorReader] | None = field(default=None, repr=False)

    def __init__(
        self,
        scores: NDArray[np.float32],
        ids: NDArray[np.int64],
        rows: Rows,
        positions: NDArray[np.int64],
        n_unknown: int,
        generation: int,
        n_blocked: int = 0,
        n_found: NDArray[np.int64] | None = None,
        reader: weakref.ref[VectorReader] | None = None,
    ) -> None:
        # One update: the fields of a frozen dataclass one by one take longer than the search of a few items.
        self.__dict__.update(
            scores=scores,
            ids=ids,
            rows=rows,
            positions=positions,
            n_unknown=n_unknown,
            generation=generation,
            n_blocked=n_blocked,
            n_found=n_found,
            reader=reader,
        )

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.scores, self.ids))

    def dpp(self, k: int, **options: Unpack[DppOptions]) -> DiversityResult:
        """Selects ``min(k, n)`` of these items by a DPP, with their scores as relevance.

        The vectors are read in the index and not copied. Call it while the view that was searched is pinned.

        Args:
            k: maximum number of items.
            options: ``diversity=0.5`` and the other keyword arguments of ``karec.diversity.dpp_select``.

        Returns:
            The selection with ``ids``.

        Raises:
            ValueError: the view is closed, the index was written to since its own search, the result is one
                of several queries, or as ``dpp_select``.
        """
        if self.rows.ndim != 1:
            raise ValueError(
                f"dpp selects from the items of one query, this result has {len(self.rows)} queries: search "
                f"with one query (D,)"
            )
        reader = None if self.reader is None else self.reader()
        if reader is None:
            raise ValueError(
                "the view that found these items is closed, and dpp reads their vectors in it: call dpp "
                "inside `with index.pinned() as view:`"
            )
        result = reader.dpp_select(self.rows, self.scores, k, **options)
        return replace(result, ids=self.ids[result.indices])
