"""Counters of users, works or visits as of any moment, without a snapshot for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karec.platform.events import Exposures
from karec.types import Array


class Counts:
    """``counters`` of rows as of any moment: what a snapshot's ``columns`` say, and every exposure strictly before it.

    ``rows (M,)`` are the rows that ``exposures`` name, −1 for none. Where ``columns`` are None nothing was counted
    before. Raises KeyError when they lack a counter. Memory 4 bytes a counter and 8 for each exposure.
    """

    def __init__(
        self, columns: Mapping[str, Array] | None, counters: Sequence[str], rows: Array, exposures: Exposures
    ) -> None:
        self._moments, rank = np.unique(exposures.time_ms, return_inverse=True)
        self._step = len(self._moments) + 1
        key = rows * self._step + rank
        order = np.argsort(key, kind="stable")
        self._key = key[order]
        self._running = np.zeros((len(order) + 1, len(counters)), np.int32)
        for at, name in enumerate(counters):
            np.cumsum(_told(exposures, name)[order], out=self._running[1:, at])
        self._before: Array | None = None
        if columns is not None and counters:
            self._before = np.stack([columns[name] for name in counters], axis=1, dtype=np.float32)

    def at(self, rows: Array, as_of: Array) -> Array:
        """(N, counters) float32 of ``rows (N,)`` as of ``as_of (N,)`` ms, 0 of a row −1. O(N log M)."""
        first = np.searchsorted(self._key, rows * self._step)
        now = np.searchsorted(self._key, rows * self._step + np.searchsorted(self._moments, as_of))
        counts = self._running[now] - self._running[first]
        if self._before is not None:
            counts = self._before[rows] + counts
        counts[rows < 0] = 0
        return np.asarray(counts, np.float32)


def _told(exposures: Exposures, counter: str) -> Array:
    """What each exposure adds to a counter."""
    label = counter.removeprefix("count_")
    return np.ones(len(exposures), np.int32) if label == "exposed" else exposures.labels[label].astype(np.int32)
