"""id → row: the hash table of 64-byte buckets of index files (``native/src/index/id_map.hpp``), built and
read whole.

A bucket is five int64 keys, five int32 rows, and two uint16: how many slots are taken, and whether a key
whose home is here may stand in a later bucket. Linear probing from bucket to bucket. Expected O(1) an id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from karec.kernels.portable.arrays import MOST_ROWS, UNKNOWN_ROW, Int32, Int64, read_only

BUCKET_BYTES = 64
SLOTS = 5
BLOCK = 1 << 16
FARTHEST = 256  # buckets from an id's home, in a file; farther are only ids that were chosen to meet


def bucket_count(n: int) -> int:
    """Buckets for n ids: three of five slots taken on average."""
    return n // 3 + 1


class IdMap:
    """Never changed: a write makes a new one."""

    def __init__(self, buckets: NDArray[np.uint8]) -> None:
        self.buckets = buckets  # (B, 64)
        self._keys = buckets.view(np.int64)
        self._words = buckets.view(np.int32)

    @classmethod
    def of(cls, ids: Int64, rows: Int64) -> IdMap:
        """ids[i] → rows[i], unique ids put in one after the other. O(N)."""
        buckets = np.zeros((bucket_count(len(ids)), BUCKET_BYTES), np.uint8)
        _put(buckets.view(np.int64), buckets.view(np.int32), ids, _homes(ids, len(buckets)), rows)
        buckets.flags.writeable = False
        return cls(buckets)

    def find(self, ids: Int64) -> Int32:
        """(N,) the row of each id, −1 = unknown. A row is whatever the buckets say; they are never left."""
        return self._find(ids, len(self.buckets))

    def matches(self, ids: Int64) -> bool:
        """Whether the map says exactly ids[i] → i for every i and nothing else, each within FARTHEST buckets.
        O(N)."""
        taken = self._words[:, 15] & 0xFFFF
        if len(ids) > MOST_ROWS or (taken > SLOTS).any() or taken.sum(dtype=np.int64) != len(ids):
            return False
        starts = range(0, len(ids), BLOCK)
        return all(
            np.array_equal(
                self._find(ids[first : first + BLOCK], FARTHEST),
                np.arange(first, min(first + BLOCK, len(ids))),
            )
            for first in starts
        )

    def _find(self, ids: Int64, most: int) -> Int32:
        homes = _homes(ids, len(self.buckets))
        return np.asarray(_find(self._keys, self._words, read_only(ids), homes, min(most, len(self.buckets))))


def _homes(ids: Int64, n_buckets: int) -> Int64:
    """splitmix64's finaliser (Steele, Lea, Flood 2014), then Lemire's multiply-high in place of a
    division."""
    h = ids.view(np.uint64)
    h = (h ^ h >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ h >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    n, half = np.uint64(n_buckets), np.uint64(32)  # n < 2^32, so that the product is made of two that fit
    low = (h & np.uint64(0xFFFFFFFF)) * n >> half
    return np.asarray(((h >> half) * n + low) >> half).view(np.int64)


@njit(cache=True, nogil=True)
def _find(keys: Any, words: Any, ids: Any, homes: Any, most: int) -> Any:
    """Each id is looked for in ``most`` buckets from its home on."""
    n_buckets = len(keys)
    rows = np.full(len(ids), UNKNOWN_ROW, np.int32)
    for i in range(len(ids)):
        at = homes[i]
        for _ in range(most):
            found = False
            for slot in range(min(words[at, 15] & 0xFFFF, SLOTS)):
                if keys[at, slot] == ids[i]:
                    rows[i] = words[at, 10 + slot]
                    found = True
                    break
            if found or words[at, 15] >> 16 == 0:
                break
            at = at + 1 if at + 1 < n_buckets else 0
    return rows


@njit(cache=True, nogil=True)
def _put(keys: Any, words: Any, ids: Any, homes: Any, rows: Any) -> None:
    n_buckets = len(keys)
    for i in range(len(ids)):
        at = homes[i]
        while words[at, 15] & 0xFFFF == SLOTS:
            words[at, 15] |= 1 << 16
            at = at + 1 if at + 1 < n_buckets else 0
        count = words[at, 15] & 0xFFFF
        keys[at, count] = ids[i]
        words[at, 10 + count] = rows[i]
        words[at, 15] += 1
