"""Counters of works that fade: an event counts 1 on its day, half as much HALF_LIFE_DAYS later, and nothing
after DAYS days.

At a moment of day d a counter is Σ n_e · 2^(−(d − e)/HALF_LIFE_DAYS) over the days e = d − DAYS + 1 … d (UTC)
and the n_e events of each before that moment; in float64, oldest day first, then as float32. A rate that
fades is ``karec.aggregates.rates.smoothed_rate`` of two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import added
from karec.aggregates.located_events import LocatedEvents
from karec.kernels import aggregates
from karec.times import DAY_MS

HALF_LIFE_DAYS = 3.0
DAYS = 16
WEIGHTS = 2.0 ** (-np.arange(DAYS) / HALF_LIFE_DAYS)


class FadingCounters:
    """The state of one work for C counters is ``(D, 1 + C) int64``: a day since 1970 and what was counted on
    it, days rising. It depends on which events were stepped and not on their order; a snapshot holds none of
    it.
    """

    @staticmethod
    def empty(n_counters: int) -> NDArray[Any]:
        return np.empty((0, 1 + n_counters), np.int64)

    @staticmethod
    def step_all(
        first: NDArray[Any], states: NDArray[Any], events: LocatedEvents, counters: Sequence[str]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """(first, states) of R works, in CSR form, after ``events``, whose ``work`` rows are these. O((M + D)
        log(M + D)).
        """
        some = events.work >= 0
        days = events.time_ms[some] // DAY_MS
        new = np.concatenate([days[:, None], added(events, counters)[some]], axis=1, dtype=np.int64)
        work = np.concatenate([np.repeat(np.arange(len(first) - 1), np.diff(first)), events.work[some]])
        rows = np.concatenate([states, new])
        order = np.lexsort((rows[:, 0], work))
        work, rows = work[order], rows[order]
        begins = np.flatnonzero(np.append(True, (np.diff(work) != 0) | (np.diff(rows[:, 0]) != 0)))[
            : len(work)
        ]
        if not len(work):
            return first, states
        summed = np.add.reduceat(rows, begins, axis=0)
        summed[:, 0], work = rows[begins, 0], work[begins]
        newest = np.zeros(len(first) - 1, np.int64)
        newest[work] = summed[:, 0]  # the last one of each work
        kept = summed[:, 0] > newest[work] - DAYS
        bounds = np.searchsorted(work[kept], np.arange(len(first)))
        return bounds, summed[kept]

    @staticmethod
    def read(first: NDArray[Any], states: NDArray[Any], as_of_ms: int) -> NDArray[Any]:
        """(R, C) float32 of R works at a moment, of what was stepped."""
        counts = np.zeros((len(first) - 1, states.shape[1] - 1))
        age = as_of_ms // DAY_MS - states[:, 0]
        work = np.repeat(np.arange(len(first) - 1), np.diff(first))
        some = (age >= 0) & (age < DAYS)
        np.add.at(counts, work[some], states[some, 1:] * WEIGHTS[age[some], None])
        return counts.astype(np.float32)

    @staticmethod
    def over_time(events: LocatedEvents, counters: Sequence[str], n_works: int) -> RecentOverTime:
        return RecentOverTime(events.work, events.time_ms, added(events, counters), n_works)


@dataclass(frozen=True, eq=False)
class RecentOverTime:
    """Fading counters of works at any moment, from M events in order of time."""

    event_rows: NDArray[Any]
    event_times: NDArray[Any]
    added: NDArray[Any]
    n_works: int

    def at(self, rows: NDArray[Any], as_of: NDArray[Any]) -> NDArray[Any]:
        """(N, C) float32 of ``rows (N,)`` as of ``as_of (N,)`` ms, rising; 0 for a row −1. One sweep, O(M·C +
        N·C·DAYS); memory 4·DAYS·C bytes a work. ValueError where ``as_of`` falls.
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
