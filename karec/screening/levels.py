"""Histograms of quality by cell.

A float32 as an unsigned integer keeps its order. The upper sixteen bits are its *level*, about 1 % of the
number wide. The candidates of a window are counted by cell and level, and the allocation uses these counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW = 16  # number of bits below the level


def to_order(quality: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) uint32 in the order of ``quality (N,) float32``, which is finite."""
    bits = (quality + np.float32(0)).view(np.uint32)  # −0 becomes 0
    return np.asarray(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)))


def from_order(order: NDArray[Any]) -> NDArray[Any]:
    order = np.asarray(order, np.uint32)
    return np.asarray(np.where(order >> 31, order & np.uint32((1 << 31) - 1), ~order)).view(np.float32)


@dataclass(frozen=True, eq=False)
class Levels:
    """``count (E,)`` works of ``cell (E,)`` at ``level (E,)``, int64, sorted, each pair once."""

    cell: NDArray[Any]
    level: NDArray[Any]
    count: NDArray[Any]

    def cut(self, wanted: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the end of the ``wanted (C,)`` best works of each cell, in the order of ``cells``.

        (level of the last work, works wanted of that level), each (C,). A cell with 0 wanted works ends above
        its highest level.
        """
        cells, starts = np.unique(self.cell, return_index=True)
        ends = np.append(starts, len(self.cell))[1:]
        last_level, n_last = np.empty(len(cells), np.int64), np.zeros(len(cells), np.int64)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if wanted[index] == 0:
                last_level[index] = self.level[end - 1] + 1
                continue
            counts = self.count[start:end][::-1]
            cumulative = np.cumsum(counts)
            k = int(np.searchsorted(cumulative, wanted[index]))
            last_level[index] = self.level[end - 1 - k]
            n_last[index] = wanted[index] - (cumulative[k] - counts[k])
        return last_level, n_last

    @property
    def cells(self) -> NDArray[Any]:
        return np.unique(self.cell)

    @property
    def supply(self) -> NDArray[Any]:
        return np.bincount(np.searchsorted(self.cells, self.cell), self.count, len(self.cells)).astype(
            np.int64
        )
