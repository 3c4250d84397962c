"""Codes of a category's values, as ``native/src/features/vocabulary.hpp`` defines them, by binary search."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels.portable.arrays import Int64

FIRST_UNSEEN = 1 << 62


class Vocabulary:
    def __init__(self, keys: ArrayLike) -> None:
        self._keys = _integers("keys", keys).copy()
        self._keys.flags.writeable = False
        negative = np.flatnonzero(self._keys < 0)
        if len(negative):
            raise ValueError(f"keys must not be negative, keys[{negative[0]}] is {self._keys[negative[0]]}")
        if len(self._keys) >= 1 << 30:
            raise ValueError(f"fewer than 2^30 ids fit, got {len(self._keys)}")
        self._order = np.argsort(self._keys, kind="stable")
        self._ordered = self._keys[self._order]
        repeated = np.flatnonzero(self._ordered[1:] == self._ordered[:-1])
        if len(repeated):
            raise ValueError(f"ids must be unique, {self._ordered[repeated[0]]} stands twice")

    @property
    def keys(self) -> Int64:
        return self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def encode(self, ids: ArrayLike) -> Int64:
        wanted = _integers("ids", ids)
        codes = _unseen(wanted)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._ordered, wanted), len(self._keys) - 1)
            codes = np.where(self._ordered[at] == wanted, self._order[at] + 1, codes)
        return np.where(wanted < 0, 0, codes)


def _unseen(ids: Int64) -> Int64:
    """splitmix64's finaliser, G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014."""
    z = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return FIRST_UNSEEN | (z >> np.uint64(2)).astype(np.int64)


def _integers(what: str, values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(
            f"{what} has shape {array.shape} and dtype {array.dtype}, expected 1 dimension of integers"
        )
    return np.ascontiguousarray(array, dtype=np.int64)
