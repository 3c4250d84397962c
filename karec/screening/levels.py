"""Histograms of quality by cell.

A float32 as an unsigned integer of the same order: its upper sixteen bits are its *level*, about a hundredth
of the number wide. Each day's candidates are counted by cell and level; how many works of a cell are kept is
decided on these counts, and the level in which the last kept work lies is then counted by its lower sixteen
bits. So thresholds are exact, and memory does not depend on the number of works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LOW = 16  # bits below the level


def order_of(quality: NDArray[Any]) -> NDArray[Any]:
    """(N,) uint32 in the order of ``quality (N,) float32``, which is finite."""
    bits = (quality + np.float32(0)).view(np.uint32)  # −0 becomes 0
    return np.asarray(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)))


def quality_of(order: NDArray[Any]) -> NDArray[Any]:
    """The inverse of ``order_of``."""
    order = np.asarray(order, np.uint32)
    return np.asarray(np.where(order >> 31, order & np.uint32((1 << 31) - 1), ~order)).view(np.float32)


@dataclass(frozen=True, eq=False)
class Levels:
    """``count (E,)`` works of ``cell (E,)`` at ``level (E,)``, all int64; by cell, then by level, no pair
    twice."""

    cell: NDArray[Any]
    level: NDArray[Any]
    count: NDArray[Any]

    @classmethod
    def count_of(cls, cell: NDArray[Any], level: NDArray[Any]) -> Self:
        """Of works: their ``cell`` ≥ 0 and ``level`` below 2^32."""
        cells = np.unique(cell)
        keys = np.sort(np.searchsorted(cells, cell).astype(np.int64) << 32 | level.astype(np.int64))
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        return cls(
            cells[keys[starts] >> 32].astype(np.int64),
            keys[starts] & ((1 << 32) - 1),
            np.diff(np.append(starts, len(keys))),
        )

    @classmethod
    def sum_of(cls, parts: Sequence[Levels]) -> Self:
        if not parts:
            return cls(*(np.empty(0, np.int64) for _ in range(3)))
        cell, level, count = (
            np.concatenate([getattr(part, what) for part in parts]) for what in vars(parts[0])
        )
        order = np.lexsort((level, cell))
        cell, level, count = cell[order], level[order], count[order]
        first = np.ones(len(cell), bool)
        first[1:] = (cell[1:] != cell[:-1]) | (level[1:] != level[:-1])
        starts = np.flatnonzero(first)
        return cls(cell[starts], level[starts], np.add.reduceat(count, starts) if len(starts) else count)

    def cut(self, wanted: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Where the ``wanted (C,)`` best of each cell end; cells are those of ``cells``, in their order.

        (level of the last, how many of that level are wanted, whether that is less than all of it), each
        (C,). A cell of which none is wanted ends above its highest level.
        """
        cells, starts = np.unique(self.cell, return_index=True)
        ends = np.append(starts, len(self.cell))[1:]
        at, need, part = (np.empty(len(cells), kind) for kind in (np.int64, np.int64, bool))
        for c, (start, end) in enumerate(zip(starts, ends, strict=True)):
            counts = self.count[start:end][::-1]
            below = np.cumsum(counts)
            k = int(np.searchsorted(below, wanted[c]))
            if wanted[c] == 0:
                at[c], need[c], part[c] = self.level[end - 1] + 1, 0, False
            else:
                at[c] = self.level[end - 1 - k]
                need[c] = wanted[c] - (below[k] - counts[k])
                part[c] = need[c] < counts[k]
        return at, need, part

    @property
    def cells(self) -> NDArray[Any]:
        return np.unique(self.cell)

    @property
    def supply(self) -> NDArray[Any]:
        """(C,) works of each of ``cells``."""
        return np.bincount(np.searchsorted(self.cells, self.cell), self.count, len(self.cells)).astype(
            np.int64
        )
