"""Recent counters of items: counts that halve every hour, day or week. Integers, so sums are exact.

    value(t) = Σ 2^(−(t − t_event) / half-life)  over the events of a label

A counter of one half-life has two cells. A cell has the events of one period of PERIOD half-lives: the number
of the period, and a sum of integers ⌊2^(PRECISION + half-lives from the begin of the period to the event)⌋.
Even and odd periods have different cells, and a later period replaces an earlier one. So a state depends on
the set of events, not on their order, and the states of partitions can be added. An event is forgotten after
8 to 16 half-lives, when its weight is below 0.4 %.

An event of a host whose clock is ahead counts up to 2^PERIOD until its time comes. If it is of a later
period, it replaces the cell of the same parity, so earlier events of this item no longer count.

Source: G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu, Forward decay, ICDE 2009.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import Meaning
from karec.times import DAY_MS, HOUR_MS

HALF_LIVES = ("hour", "day", "week")
HALF_LIFE_MS = np.array([HOUR_MS, DAY_MS, 7 * DAY_MS], np.int64)
PERIOD = 8  # half-lives
PRECISION = 8  # bits of the smallest increment, so that rounding takes less than 0.4 % of a weight
CELLS = 2 * len(HALF_LIVES)  # of one counter: even and odd periods of each half-life
_SUM_BITS = 42  # of a cell: 2^26 events at the end of a period. The other bits suffice until the year 3885
_SUM = np.int64((1 << _SUM_BITS) - 1)


def recent_labels(meaning: Meaning) -> Set[str]:
    """Returns the labels whose counters are also recent counters."""
    return {*meaning.enjoyed, *meaning.liked, *meaning.followed}


def empty(n_rows: int, n_counters: int) -> NDArray[Any]:
    """Returns the state (R, CELLS · C) int64 without events."""
    return np.zeros((n_rows, CELLS * n_counters), np.int64)


def states_of_events(time_ms: NDArray[Any], increments: NDArray[Any]) -> NDArray[Any]:
    """Returns the state (M, CELLS · C) of each of M events.

    ``time_ms`` (M,): Unix ms, positive; ``increments`` (M, C): 0 or 1.
    """
    period, age = np.divmod(time_ms[:, None], PERIOD * HALF_LIFE_MS)
    weight = np.exp2(PRECISION + age / HALF_LIFE_MS).astype(np.int64)
    cell = (period << _SUM_BITS) + weight
    state = np.zeros((len(time_ms), len(HALF_LIVES), 2, increments.shape[1]), np.int64)
    for parity in (0, 1):
        state[:, :, parity] = np.where(period & 1 == parity, cell, 0)[..., None] * increments[:, None]
    return state.reshape(len(time_ms), CELLS * increments.shape[1])


def add(state: NDArray[Any], rows: NDArray[Any], states: NDArray[Any]) -> NDArray[Any]:
    """Returns ``state`` (R, ·) with ``states`` (M, ·) added to its ``rows`` (M,). O((R + M) · C)."""
    newest = state >> _SUM_BITS
    np.maximum.at(newest, rows, states >> _SUM_BITS)
    sums = np.where(state >> _SUM_BITS == newest, state & _SUM, 0)
    np.add.at(sums, rows, np.where(states >> _SUM_BITS == newest[rows], states & _SUM, 0))
    return (newest << _SUM_BITS) + sums


def read(state: NDArray[Any], half_life: str, time_ms: int) -> NDArray[Any]:
    """Returns (R, C) float64, the values at ``time_ms`` of a state (R, CELLS · C).

    A later time gives no larger value. Before the begin of a period, its sum is that at the begin.
    """
    kind = HALF_LIVES.index(half_life)
    half_life_ms = int(HALF_LIFE_MS[kind])
    cells = state.reshape(len(state), len(HALF_LIVES), 2, state.shape[1] // CELLS)[:, kind]
    period = cells >> _SUM_BITS
    halvings = PRECISION + np.maximum(time_ms / half_life_ms - PERIOD * period, 0.0)
    is_kept = period >= time_ms // (PERIOD * half_life_ms) - 1
    return np.asarray(np.where(is_kept, (cells & _SUM) * np.exp2(-halvings), 0.0).sum(axis=1))
