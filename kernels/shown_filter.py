"""Bloom filters of works that were shown long ago: "never shown" is always right, "shown" nearly always.

Algorithm  An id's HASHES places are a + i·b mod BITS of two halves of its mixed bits. Adding sets them, and a
           work is held where all of them are set: most that are not are told by the first two looks.
Cost       O(1) an id that is added or asked for: 20 ns with four full filters. 16 KiB a filter. The GIL is
           released.
Error      (1 − e^(−HASHES·n/BITS))^HASHES with n ids in a filter: .02 % at 6,800, .2 % at 10,000, .9 % at
           13,500. A work is asked for in FILTERS of them, whose errors add up.
Source     B. H. Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 13, 1970.
           A. Kirsch, M. Mitzenmacher, Less hashing, same performance, 2006 (two hashes for all places).
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
def _mixed(value: int) -> Any:
    """64 bits of an id, each of which depends on all of its bits."""
    x = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def add(words: Array, ids: Array) -> None:
    """Puts ``ids (N,) int64`` into the filter ``words (WORDS,) int64``."""
    for n in range(len(ids)):
        mixed = _mixed(ids[n])
        place, step = mixed & np.uint64(0xFFFFFFFF), (mixed >> np.uint64(32)) | np.uint64(1)
        for _ in range(HASHES):
            bit = place & np.uint64(BITS - 1)
            words[bit >> np.uint64(6)] |= np.int64(np.uint64(1) << (bit & np.uint64(63)))
            place += step


@njit(cache=True, nogil=True)
def held(filters: Array, ids: Array) -> Array:
    """(N,) bool: which ``ids (N,) int64`` one of the ``filters (F, WORDS) int64`` holds."""
    found = np.zeros(len(ids), np.bool_)
    every = (1 << len(filters)) - 1
    for n in range(len(ids)):
        mixed = _mixed(ids[n])
        place, step = mixed & np.uint64(0xFFFFFFFF), (mixed >> np.uint64(32)) | np.uint64(1)
        left = every  # the filters that may hold it: a look at one does not wait for the look at another
        for _ in range(HASHES):
            bit = place & np.uint64(BITS - 1)
            word, shift = bit >> np.uint64(6), np.int64(bit & np.uint64(63))
            look = 0
            for f in range(len(filters)):
                look |= ((filters[f, word] >> shift) & 1) << f
            left &= look
            if left == 0:
                break
            place += step
        found[n] = left != 0
    return found
