"""Counters of a table's rows as of any moment, without a snapshot for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.snapshot import Exposures, Table
from karec.types import Array


class Counts:
    """The counters of a table's rows as of any moment: what the table counted, and every exposure strictly before it.

    ``rows (M,)`` are the table's rows that ``exposures`` name, −1 for none. Without a table nothing was counted before.
    Memory 4 bytes a counter and 8 for each exposure.
    """

    def __init__(self, table: Table | None, counters: Sequence[str], rows: Array, exposures: Exposures) -> None:
        self._moments, rank = np.unique(exposures.time_ms, return_inverse=True)
        self._step = len(self._moments) + 1
        key = rows * self._step + rank
        order = np.argsort(key, kind="stable")
        self._key = key[order]
        self._running = np.zeros((len(order) + 1, len(counters)), np.int32)
        self._before = None if table is None else np.empty((len(table), len(counters)), np.float32)
        for at, name in enumerate(counters):
            np.cumsum(_told(exposures, name)[order], out=self._running[1:, at])
            if table is not None and self._before is not None:
                self._before[:, at] = table[name]

    def at(self, rows: Array, as_of: Array) -> Array:
        """(N, counters) float32 of the table's ``rows (N,)`` as of ``as_of (N,)`` ms, 0 of a row −1. O(N log M)."""
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
