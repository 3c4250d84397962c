"""Bloom filters of items shown long ago: "never shown" is always right, "shown" has rare errors.

Algorithm  The HASHES bits of an id are a + i·b mod BITS, with a and b the halves of its mixed bits. ``add``
           sets them; an id is contained if all are set. Two lookups reject most other ids.
Cost       O(1) an id: 20 ns with four full filters. 16 KiB a filter. The GIL is released.
Error      (1 − e^(−HASHES·n/BITS))^HASHES with n ids in a filter: 0.02 % at 6,800, 0.2 % at 10,000, 0.9 % at
           13,500. The errors of the FILTERS filters of a user add up.
Source     B. H. Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 13, 1970.
           A. Kirsch, M. Mitzenmacher, Less hashing, same performance, 2006 (two hashes for all bits).
           G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, 2014 (the
           mixing).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BITS = 1 << 17
WORDS = BITS // 64
HASHES = 7
FILTERS = 4


@njit(cache=True, nogil=True)
def _mix(value: int) -> Any:
    """Returns 64 bits, each of which depends on all bits of ``value``."""
    x = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def add(words: Array, ids: Array) -> None:
    """Adds ``ids`` (N,) int64 to the filter ``words`` (WORDS,) int64."""
    for n in range(len(ids)):
        mixed = _mix(ids[n])
        place, step = mixed & np.uint64(0xFFFFFFFF), (mixed >> np.uint64(32)) | np.uint64(1)
        for _ in range(HASHES):
            bit = place & np.uint64(BITS - 1)
            words[bit >> np.uint64(6)] |= np.int64(np.uint64(1) << (bit & np.uint64(63)))
            place += step


@njit(cache=True, nogil=True)
def contains(filters: Array, ids: Array) -> Array:
    """Returns (N,) bool: True for ``ids`` (N,) int64 that one of ``filters`` (F, WORDS) int64 contains."""
    is_contained = np.zeros(len(ids), np.bool_)
    all_filters = (1 << len(filters)) - 1
    for n in range(len(ids)):
        mixed = _mix(ids[n])
        place, step = mixed & np.uint64(0xFFFFFFFF), (mixed >> np.uint64(32)) | np.uint64(1)
        # Bit f: filter f may contain the id. The lookups in different filters do not wait for each other.
        candidates = all_filters
        for _ in range(HASHES):
            bit = place & np.uint64(BITS - 1)
            word, shift = bit >> np.uint64(6), np.int64(bit & np.uint64(63))
            matches = 0
            for f in range(len(filters)):
                matches |= ((filters[f, word] >> shift) & 1) << f
            candidates &= matches
            if candidates == 0:
                break
            place += step
        is_contained[n] = candidates != 0
    return is_contained
