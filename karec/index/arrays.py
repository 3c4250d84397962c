"""Ids and columns of an item index as whole arrays, copied once for each generation that is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native as library


@dataclass(frozen=True, eq=False)
class IndexArrays:
    """Ids and columns of one generation, by row.

    ids      (n_rows,) int64
    columns  {name: (n_rows,)}
    present  (n_rows,) bool, False where a row holds no item. None: every row holds one
    """

    generation: int
    ids: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    present: NDArray[np.bool_] | None


class ArrayCache:
    """The newest arrays that were read, for an index and its views. Any number of threads may read.

    index  an object that stands for the index. Rows refer to it, and keep nothing else alive by it
    """

    def __init__(self) -> None:
        self._newest: IndexArrays | None = None
        self.index = object()

    def read(self, native: library.ItemIndex | library.IndexView) -> IndexArrays:
        """Returns the arrays of the generation that ``native`` reads. O(N) if they are not cached."""
        cached = self._newest
        if cached is not None and cached.generation == native.generation:
            return cached
        generation, ids, columns, present = native.table()
        arrays = IndexArrays(generation, ids, MappingProxyType(columns), present)
        if cached is None or cached.generation < generation:
            self._newest = arrays
        return arrays
