"""Histograms of quality by cell.

A float32 as an unsigned integer keeps its order. The upper sixteen bits are its *level*, about 1 % of the
number wide. Each day's candidates are counted by cell and level, and the allocation uses these counts. The
level with a cell's last kept work is then counted by the lower sixteen bits. So thresholds are exact, and
memory does not depend on the number of works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

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

    @classmethod
    def from_works(cls, cell: NDArray[Any], level: NDArray[Any]) -> Self:
        """Counts works with ``cell`` ≥ 0 and ``level`` below 2^32."""
        cells = np.unique(cell)
        keys = np.sort(np.searchsorted(cells, cell).astype(np.int64) << 32 | level.astype(np.int64))
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        return cls(
            cells[keys[starts] >> 32].astype(np.int64),
            keys[starts] & ((1 << 32) - 1),
            np.diff(np.append(starts, len(keys))),
        )

    @classmethod
    def from_parts(cls, parts: Sequence[Levels]) -> Self:
        if not parts:
            return cls(*(np.empty(0, np.int64) for _ in range(3)))
        cell, level, count = (
            np.concatenate([getattr(part, field) for part in parts]) for field in vars(parts[0])
        )
        order = np.lexsort((level, cell))
        cell, level, count = cell[order], level[order], count[order]
        first = np.ones(len(cell), bool)
        first[1:] = (cell[1:] != cell[:-1]) | (level[1:] != level[:-1])
        starts = np.flatnonzero(first)
        return cls(cell[starts], level[starts], np.add.reduceat(count, starts) if len(starts) else count)

    def cut(self, wanted: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Returns the end of the ``wanted (C,)`` best works of each cell, in the order of ``cells``.

        (level of the last work, works wanted of that level, True if these are not all of it), each (C,). A
        cell with 0 wanted works ends above its highest level.
        """
        cells, starts = np.unique(self.cell, return_index=True)
        ends = np.append(starts, len(self.cell))[1:]
        last_level, n_wanted, is_partial = (np.empty(len(cells), kind) for kind in (np.int64, np.int64, bool))
        for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
            counts = self.count[start:end][::-1]
            cumulative = np.cumsum(counts)
            k = int(np.searchsorted(cumulative, wanted[index]))
            if wanted[index] == 0:
                last_level[index], n_wanted[index], is_partial[index] = self.level[end - 1] + 1, 0, False
            else:
                last_level[index] = self.level[end - 1 - k]
                n_wanted[index] = wanted[index] - (cumulative[k] - counts[k])
                is_partial[index] = n_wanted[index] < counts[k]
        return last_level, n_wanted, is_partial

    @property
    def cells(self) -> NDArray[Any]:
        return np.unique(self.cell)

    @property
    def supply(self) -> NDArray[Any]:
        return np.bincount(np.searchsorted(self.cells, self.cell), self.count, len(self.cells)).astype(
            np.int64
        )
