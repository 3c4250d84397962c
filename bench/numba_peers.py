"""Baselines that are written for Numba: float32 with fastmath, no checks of input, one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from workloads import Floats, Ints

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing


@njit(fastmath=True)
def lazy_dpp(vectors: Floats, relevance: Floats, k: int, alpha: float, ridge: float) -> Ints:
    """Selects by karec's definition with lazy updates: a gain is a bound until its item is the best one.

    A row is scaled to unit length when it is compared first. Source: Minoux, "Accelerated greedy algorithms
    for maximizing submodular set functions", 1978.
    """
    n, dim = vectors.shape
    directions, inverse_length = np.empty((k, dim), np.float32), np.zeros(n, np.float32)
    rho, n_applied = np.full(n, 1 + ridge, np.float32), np.zeros(n, np.int64)
    q2 = np.exp(np.float32(2 * alpha) * (relevance - relevance.max()))
    gains, picks = q2 * rho, np.empty(k, np.int64)
    for t in range(k):
        best = gains.argmax()
        while n_applied[best] < t or inverse_length[best] == 0:
            f = vectors[best]
            if inverse_length[best] == 0:
                inverse_length[best] = 1 / np.sqrt((f * f).sum())
            for s in range(n_applied[best], t):
                along = np.float32(0)
                for d in range(dim):
                    along += directions[s, d] * f[d]
                along *= inverse_length[best]
                rho[best] -= along * along
            n_applied[best] = t
            gains[best] = q2[best] * rho[best]
            best = gains.argmax()
        u = vectors[best] * inverse_length[best]
        for s in range(t):
            along = np.float32(0)
            for d in range(dim):
                along += directions[s, d] * vectors[best, d]
            along *= inverse_length[best]
            for d in range(dim):
                u[d] -= along * directions[s, d]
        directions[t] = u / np.sqrt(rho[best])
        gains[best], picks[t] = -1, best
    return picks


@njit(fastmath=True)
def lazy_mmr(vectors: Floats, relevance: Floats, k: int, diversity: float) -> Ints:
    """Selects by karec's definition with lazy updates, as `lazy_dpp`: a similarity to picks only grows."""
    n, dim = vectors.shape
    inverse_length, n_applied = np.zeros(n, np.float32), np.zeros(n, np.int64)
    largest, picks = np.full(n, -np.inf, np.float32), np.empty(k, np.int64)
    weighted = np.float32(1 - diversity) * relevance
    bounds = weighted + np.float32(diversity)  # a cosine is at least −1
    for t in range(k):
        best = weighted.argmax() if t == 0 else bounds.argmax()
        while n_applied[best] < t or inverse_length[best] == 0:
            f = vectors[best]
            if inverse_length[best] == 0:
                inverse_length[best] = 1 / np.sqrt((f * f).sum())
            for s in range(n_applied[best], t):
                cosine = np.float32(0)
                for d in range(dim):
                    cosine += vectors[picks[s], d] * f[d]
                cosine *= inverse_length[best] * inverse_length[picks[s]]
                largest[best] = max(largest[best], cosine)
            n_applied[best] = t
            if t > 0:
                bounds[best] = weighted[best] - np.float32(diversity) * largest[best]
                best = bounds.argmax()
        bounds[best], picks[t] = -np.inf, best
    return picks


@njit
def hash_table(ids: Ints) -> tuple[Ints, int]:
    """Returns an open-addressing table (slots, 2) of id and row at load 0.25 to 0.5, and its shift."""
    bits = 2
    while (1 << bits) < 2 * len(ids):
        bits += 1
    table = np.full((1 << bits, 2), -1, np.int64)
    for row in range(len(ids)):
        slot = (np.uint64(ids[row]) * MULTIPLIER) >> np.uint64(64 - bits)
        while table[slot, 1] >= 0:
            slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
        table[slot, 0], table[slot, 1] = ids[row], row
    return table, 64 - bits


@njit
def find_rows(table: Ints, shift: int, ids: Ints) -> Any:
    """Returns (n,) int32 rows, −1 for unknown ids."""
    rows = np.empty(len(ids), np.int32)
    mask = np.uint64(len(table) - 1)
    for i in range(len(ids)):
        slot = (np.uint64(ids[i]) * MULTIPLIER) >> np.uint64(shift)
        while table[slot, 1] >= 0 and table[slot, 0] != ids[i]:
            slot = (slot + np.uint64(1)) & mask
        rows[i] = table[slot, 1]
    return rows
