"""Numbers by int64 key, for the few of many candidates that have one.

A byte of a table of hashes says "perhaps"; only keys that pass are looked up by bisection, so that thousands of
candidates of which few have a price cost a few microseconds each thousand. O(N + hits · log P).
Source: multiplicative hashing, Knuth, The Art of Computer Programming 3, section 6.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from karec.types import Array

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LEAST_BITS, SPARE_BITS = 10, 5  # about 32 bytes a key: one candidate in 32 passes by chance


@dataclass(frozen=True, eq=False)
class Keyed:
    """``keys (P,) int64`` ascending, ``values (P,) float64``; ``perhaps``: the table of hashes. Never written again."""

    keys: Array
    values: Array
    perhaps: Array
    shift: np.uint64

    @classmethod
    def sum_of(cls, parts: Sequence[tuple[Array, Array]]) -> Self:
        """Of (keys, values) in any order; the values of a key that stands in several parts are added."""
        keys, at = np.unique(np.concatenate([keys for keys, _ in parts]).astype(np.int64), return_inverse=True)
        values = np.bincount(at, np.concatenate([values for _, values in parts]), len(keys))
        bits = max(LEAST_BITS, len(keys).bit_length() + SPARE_BITS)
        perhaps, shift = np.zeros(1 << bits, bool), np.uint64(64 - bits)
        perhaps[_hash(keys, shift)] = True
        for array in (keys, values, perhaps):
            array.setflags(write=False)
        return cls(keys, values, perhaps, shift)

    def with_values(self, keys: Array, values: Array) -> Keyed:
        """A copy in which those of ``keys (M,)`` that it has, have ``values (M,)``. O(P + M log P)."""
        if not len(self.keys):
            return self
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        here = self.keys[at] == keys
        changed = self.values.copy()
        changed[at[here]] = values[here]
        changed.setflags(write=False)
        return Keyed(self.keys, changed, self.perhaps, self.shift)

    def __len__(self) -> int:
        return len(self.keys)

    def add_to(self, total: Array, wanted: Array) -> None:
        """``total (N,)`` += the value of each of ``wanted (N,)`` integers that is a key."""
        wanted = wanted.astype(np.int64, copy=False)
        hits = np.flatnonzero(self.perhaps.take(_hash(wanted, self.shift)))
        if len(hits):
            at = np.minimum(np.searchsorted(self.keys, wanted[hits]), len(self.keys) - 1)
            total[hits] += np.where(self.keys[at] == wanted[hits], self.values[at], 0.0)


def merged(parts: Sequence[tuple[Array, Array]], *, least: bool) -> tuple[Array, Array]:
    """Distinct keys of all ``parts`` and the largest value of each, or the least."""
    keys = np.concatenate([np.empty(0, np.int64), *(key for key, _ in parts)])
    values = np.concatenate([np.empty(0), *(value for _, value in parts)])
    order = np.lexsort((values if least else -values, keys))
    keys, values = keys[order], values[order]
    first = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    return keys[first], values[first]


def _hash(keys: Array, shift: np.uint64) -> Array:
    hashed: Array = (keys.view(np.uint64) * GOLDEN) >> shift  # modulo 2^64
    return hashed.view(np.int64)
