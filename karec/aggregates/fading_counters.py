"""Counters of items with exponential decay.

An event counts 1 on its day, half as much HALF_LIFE_DAYS later, and 0 after DAYS days. At a time of day d a
counter is Σ n_e · 2^(−(d − e)/HALF_LIFE_DAYS) over the days e = d − DAYS + 1 … d (UTC) with n_e events before
this time, in float64, oldest day first, then as float32. ``karec.aggregates.rates.smoothed_rate`` of two
counters is a decaying rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import count_increments
from karec.aggregates.located_events import LocatedEvents
from karec.kernels import aggregates
from karec.times import DAY_MS

HALF_LIFE_DAYS = 3.0
DAYS = 16
WEIGHTS = 2.0 ** (-np.arange(DAYS) / HALF_LIFE_DAYS)


class FadingCounters:
    """Decaying counters by item. Any number of threads may call.

    The state of one item for C counters is (D, 1 + C) int64: days since 1970, ascending, and their counts.
    It does not depend on the order of events. A snapshot has no such state.
    """

    @staticmethod
    def empty(n_counters: int) -> NDArray[Any]:
        return np.empty((0, 1 + n_counters), np.int64)

    @staticmethod
    def step_all(
        first: NDArray[Any], states: NDArray[Any], events: LocatedEvents, counters: Sequence[str]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the states of R items after ``events``, in CSR form. O((M + D) log(M + D)).

        Args:
            first: (R + 1,) bounds of the states of each item.
            states: (D, 1 + C) states of all items.
            events: events whose ``work`` rows are these items.
        """
        has_row = events.work >= 0
        days = events.time_ms[has_row] // DAY_MS
        new = np.concatenate(
            [days[:, None], count_increments(events, counters)[has_row]], axis=1, dtype=np.int64
        )
        work = np.concatenate([np.repeat(np.arange(len(first) - 1), np.diff(first)), events.work[has_row]])
        rows = np.concatenate([states, new])
        order = np.lexsort((rows[:, 0], work))
        work, rows = work[order], rows[order]
        begins = np.flatnonzero(np.append(True, (np.diff(work) != 0) | (np.diff(rows[:, 0]) != 0)))[
            : len(work)
        ]
        if not len(work):
            return first, states
        sums = np.add.reduceat(rows, begins, axis=0)
        sums[:, 0], work = rows[begins, 0], work[begins]
        newest = np.zeros(len(first) - 1, np.int64)
        newest[work] = sums[:, 0]  # the last day of each item
        is_kept = sums[:, 0] > newest[work] - DAYS
        bounds = np.searchsorted(work[is_kept], np.arange(len(first)))
        return bounds, sums[is_kept]

    @staticmethod
    def read(first: NDArray[Any], states: NDArray[Any], as_of_ms: int) -> NDArray[Any]:
        """Returns (R, C) float32 counters of R items at ``as_of_ms``."""
        counts = np.zeros((len(first) - 1, states.shape[1] - 1))
        age = as_of_ms // DAY_MS - states[:, 0]
        work = np.repeat(np.arange(len(first) - 1), np.diff(first))
        counts_now = (age >= 0) & (age < DAYS)
        np.add.at(counts, work[counts_now], states[counts_now, 1:] * WEIGHTS[age[counts_now], None])
        return counts.astype(np.float32)

    @staticmethod
    def over_time(events: LocatedEvents, counters: Sequence[str], n_works: int) -> FadingOverTime:
        return FadingOverTime(events.work, events.time_ms, count_increments(events, counters), n_works)


@dataclass(frozen=True, eq=False)
class FadingOverTime:
    """Decaying counters of items at any time, from M events ordered by time."""

    event_rows: NDArray[Any]
    event_times: NDArray[Any]
    added: NDArray[Any]
    n_works: int

    def at(self, rows: NDArray[Any], as_of: NDArray[Any]) -> NDArray[Any]:
        """Returns (N, C) float32 of ``rows`` (N,) before ``as_of`` (N,) ms, ascending; 0 for row −1.

        Raises ValueError if ``as_of`` falls.

        Cost: one sweep of O(M·C + N·C·DAYS), and memory of 4·DAYS·C bytes for each item.
        """
        if (np.diff(as_of) < 0).any():
            raise ValueError("as_of must not fall: fading counters are read in one sweep")
        return aggregates.sweep_fading_counts(
            self.n_works,
            self.event_rows,
            self.event_times // DAY_MS,
            self.event_times,
            self.added,
            rows,
            as_of,
            WEIGHTS,
        )


RECENT_BY_WORK = FadingCounters()
