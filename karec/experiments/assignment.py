"""Assigns units to arms by a hash. `karec/assignment.hpp` has the same functions in C++, with equal bits.

The hash is version 2 of GrowthBook: fnv32a of the decimal digits of fnv32a(seed + id), modulo 10,000. It
reads UTF-8 bytes. GrowthBook's JavaScript reads UTF-16 units, so the two agree for ASCII ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

N_BUCKETS = 10_000
FNV_OFFSET = 0x811C9DC5
FNV_PRIME = 0x01000193


def fnv32a(data: bytes, state: int = FNV_OFFSET) -> int:
    """Returns the FNV-1a hash of 32 bits. `state`: the hash of the bytes before `data`."""
    for byte in data:
        state = (state ^ byte) * FNV_PRIME & 0xFFFFFFFF
    return state


def unit_bucket(seed: str | int, unit_id: str) -> int:
    """Returns the bucket of a unit, 0 to 9,999. Cost: at most 5 µs for an id of 36 bytes.

    Args:
        seed: a text, or `fnv32a` of its bytes, which saves time for many ids.
    Raises:
        ValueError: `unit_id` is empty.
    """
    if not unit_id:
        raise ValueError("unit_id is empty, expected an id")
    state = fnv32a(seed.encode()) if isinstance(seed, str) else seed
    return fnv32a(b"%d" % fnv32a(unit_id.encode(), state)) % N_BUCKETS


def choose_arm(bucket: int, weights: Iterable[float], coverage: float) -> int:
    """Returns the position of the arm whose range contains the bucket, −1 if none does.

    The range of arm i starts at the sum of the weights before it, and has the length coverage · weight i. So
    a larger coverage adds units and moves none between arms.
    """
    point = bucket / N_BUCKETS
    start = 0.0
    for i, weight in enumerate(weights):
        if start <= point < start + coverage * weight:
            return i
        start += weight
    return -1


def unit_buckets(seed: int, unit_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns (N,) int64: the buckets of units whose ids are the decimal digits of ``unit_ids`` (N,).

    ``seed``: `fnv32a` of the bytes of the seed. Cost: 30 array operations on N values.
    """
    digits = unit_ids.astype("S20")
    hashed = _hash_texts(digits, np.full(len(unit_ids), seed, np.uint32))
    offsets = np.full(len(unit_ids), FNV_OFFSET, np.uint32)
    return _hash_texts(hashed.astype("S10"), offsets).astype(np.int64) % N_BUCKETS


def choose_arms(buckets: NDArray[np.int64], weights: Sequence[float], coverage: float) -> NDArray[np.int64]:
    """Returns (N,) int64: for each bucket (N,) the position that `choose_arm` returns."""
    arms = np.full(len(buckets), -1)
    points = buckets / N_BUCKETS
    start = 0.0
    for i, weight in enumerate(weights):
        arms[(arms < 0) & (start <= points) & (points < start + coverage * weight)] = i
        start += weight
    return arms


def _hash_texts(texts: NDArray[np.bytes_], states: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Returns (N,) uint32: `fnv32a` of ASCII texts (N,), each from its state."""
    for column in texts.view(np.uint8).reshape(len(texts), texts.itemsize).T:
        hashed = (states ^ column) * np.uint32(FNV_PRIME)
        states = np.where(column > 0, hashed, states)
    return states
