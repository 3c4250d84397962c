"""Works drawn from the library as it was at a moment: each that was published by then with the same
chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot


class Library:
    """Draws rows of works. Built once in O(W log W) for W works; a draw is one binary search a moment."""

    def __init__(self, snapshot: Snapshot) -> None:
        published = snapshot.published_ms
        self._by_age = np.argsort(published, kind="stable")
        self._published = published[self._by_age]

    def n_there(self, time_ms: NDArray[Any]) -> NDArray[Any]:
        """(N,) int64: how many works were published by each moment."""
        return np.searchsorted(self._published, time_ms, side="right")

    def draw(self, time_ms: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """(N,) int64: for each moment the row of a work that was there, with replacement.

        ValueError: nothing was published by one of them.
        """
        there = self.n_there(time_ms)
        empty = np.flatnonzero(there == 0)
        if len(empty):
            raise ValueError(
                f"no work was published by {int(time_ms[empty[0]])} (Unix ms): nothing can be drawn there"
            )
        return np.asarray(self._by_age[generator.integers(0, there)])
