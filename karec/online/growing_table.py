"""A table that grows while others read what it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.table import Table

ROOM = 1.5  # arrays that are full are made anew for so many times their rows


class GrowingTable:
    """``table`` is what it holds now: the columns of ``like``, and no row at first. One thread puts rows; a
    table that was read before stays what it was.
    """

    def __init__(self, like: Table) -> None:
        self.table = like.take(np.empty(0, np.int64))
        self._arrays = {"": self.table.ids, **self.table.columns}

    def put(self, leaves: NDArray[Any], ids: NDArray[Any], columns: Mapping[str, NDArray[Any]]) -> None:
        """Without the rows ``leaves (R,) bool``, and with ``ids (M,)`` and their ``columns`` at the end. O(M
        · columns) amortised where none leaves, else O((R + M) · columns).
        """
        stay = len(leaves) - int(np.count_nonzero(leaves))
        n = stay + len(ids)
        added = {"": ids, **columns}
        if stay < len(leaves) or n > len(self._arrays[""]):  # what is read before is not written over
            left = ~leaves
            for name, array in self._arrays.items():
                room = np.empty(int(n * ROOM), array.dtype)
                room[:stay] = array[: len(leaves)][left]
                self._arrays[name] = room
        for name, array in self._arrays.items():
            array[stay:n] = added[name]
        self.table = Table(
            self._arrays[""][:n], {name: self._arrays[name][:n] for name in self.table.columns}
        )
