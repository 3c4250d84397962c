"""Whole arrays of an item index by row, copied once for each generation that they are asked of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native as library


@dataclass(frozen=True, eq=False)
class Table:
    """Ids and columns by row, of one generation."""

    generation: int
    ids: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    present: NDArray[np.bool_] | None


class NewestTable:
    """The table that was asked for last, for the index and its views: it is a copy, O(N) after each write."""

    def __init__(self) -> None:
        self._newest: Table | None = None
        self.index = object()  # which index it is: rows carry this object, which keeps nothing else alive

    def of(self, native: library.ItemIndex | library.IndexView) -> Table:
        known = self._newest
        if known is not None and known.generation == native.generation:
            return known
        generation, ids, columns, present = native.table()
        table = Table(generation, ids, MappingProxyType(columns), present)
        if known is None or known.generation < generation:
            self._newest = table
        return table
