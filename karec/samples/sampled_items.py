"""Samples items uniformly from those published by a given time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot


class PublishedItems:
    """Samples item rows. Built once in O(W log W) for W items; a sample costs one binary search per time."""

    def __init__(self, snapshot: Snapshot) -> None:
        published = snapshot.published_ms
        self._by_age = np.argsort(published, kind="stable")
        self._published = published[self._by_age]

    def n_published(self, time_ms: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64: the number of items published by each time."""
        return np.searchsorted(self._published, time_ms, side="right")

    def sample(self, time_ms: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """Returns (N,) int64: for each time the row of a published item, with replacement.

        Raises ValueError if no item was published by one of the times.
        """
        n_published = self.n_published(time_ms)
        empty = np.flatnonzero(n_published == 0)
        if len(empty):
            raise ValueError(
                f"no item was published by {int(time_ms[empty[0]])} (Unix ms), so none can be sampled"
            )
        return np.asarray(self._by_age[generator.integers(0, n_published)])
