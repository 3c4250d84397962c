"""Numbers by int64 key, for the few of many candidates that have one.

A table of hashes says which key may be meant, or that none is. Where two keys have one hash, the table knows
one of them, and the few others are looked up by bisection. So thousands of candidates cost a few microseconds
each thousand, whether few or many of them have a price. O(N + collisions · log P).
Source: multiplicative hashing, Knuth, The Art of Computer Programming 3, section 6.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LEAST_BITS, SPARE_BITS = 10, 4  # 16 to 32 slots of 4 bytes a key
NONE = -1


@dataclass(frozen=True, eq=False)
class Keyed:
    """``keys (P,) int64`` ascending, ``values (P,) float64``. Never written again.

    slots  (2^b,) int32, by hash: the place of a key, or NONE
    others (Q,) int64 ascending: the places of keys whose slot is another one's
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    slots: NDArray[Any]
    others: NDArray[Any]
    shift: np.uint64

    @classmethod
    def sum_of(cls, parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Self:
        """Of (keys, values) in any order; the values of a key that stands in several parts are added."""
        keys, at = np.unique(
            np.concatenate([keys for keys, _ in parts]).astype(np.int64), return_inverse=True
        )
        values = np.bincount(at, np.concatenate([values for _, values in parts]), len(keys))
        bits = max(LEAST_BITS, len(keys).bit_length() + SPARE_BITS)
        slots, shift, places = np.full(1 << bits, NONE, np.int32), np.uint64(64 - bits), np.arange(len(keys))
        hashed = _hash(keys, shift)
        slots[hashed] = places
        others = np.flatnonzero(slots[hashed] != places)
        for array in (keys, values, slots, others):
            array.setflags(write=False)
        return cls(keys, values, slots, others, shift)

    def with_values(self, keys: NDArray[Any], values: NDArray[Any]) -> Keyed:
        """A copy in which those of ``keys (M,)`` that it has, have ``values (M,)``. O(P + M log P)."""
        if not len(self.keys):
            return self
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        here = self.keys[at] == keys
        changed = self.values.copy()
        changed[at[here]] = values[here]
        changed.setflags(write=False)
        return Keyed(self.keys, changed, self.slots, self.others, self.shift)

    def __len__(self) -> int:
        return len(self.keys)

    def add_to(self, total: NDArray[Any], wanted: NDArray[Any]) -> None:
        """``total (N,)`` += the value of each of ``wanted (N,)`` integers that is a key."""
        wanted = wanted.astype(np.int64, copy=False)
        place = self.slots.take(_hash(wanted, self.shift))
        at = np.flatnonzero(place != NONE)
        place, wanted = place[at], wanted[at]
        same = self.keys.take(place) == wanted
        total[at[same]] += self.values.take(place[same])
        if len(self.others) and not same.all():
            at, wanted = at[~same], wanted[~same]
            keys = self.keys[self.others]
            other = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            total[at] += np.where(keys[other] == wanted, self.values[self.others[other]], 0.0)


def merged(
    parts: Sequence[tuple[NDArray[Any], NDArray[Any]]], *, least: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct keys of all ``parts`` and the largest value of each, or the least."""
    keys = np.concatenate([np.empty(0, np.int64), *(key for key, _ in parts)])
    values = np.concatenate([np.empty(0), *(value for _, value in parts)])
    order = np.lexsort((values if least else -values, keys))
    keys, values = keys[order], values[order]
    first = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    return keys[first], values[first]


def _hash(keys: NDArray[Any], shift: np.uint64) -> NDArray[Any]:
    hashed: NDArray[Any] = (keys.view(np.uint64) * GOLDEN) >> shift  # modulo 2^64
    return hashed.view(np.int64)
