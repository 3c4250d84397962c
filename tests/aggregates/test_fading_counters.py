"""Counters that fade: one definition, stepped in any order and swept over arrays, against a plain sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from event_platform import HEAD, START, Happenings, events, platform
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.fading_counters import DAYS, RECENT_BY_WORK, WEIGHTS
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.schema import EXPOSED
from karec.online.store.contents import StoreContents
from karec.times import DAY_MS

BASE = platform()
COUNTERS = StoreContents(BASE, HEAD).counters


def spread(rows, days_apart: int) -> LocatedEvents:
    """Events some days apart: more than those that count."""
    happened = events(rows)
    time = START + (happened.time_ms - START) * days_apart * DAY_MS // 2
    return LocatedEvents.from_log(BASE, HEAD, replace(happened, time_ms=time))


def plain(happened: LocatedEvents, work: int, as_of: int) -> list[float]:
    """float64 sums, oldest day first."""
    today, sums = as_of // DAY_MS, [0.0] * len(COUNTERS)
    for day in range(today - DAYS + 1, today + 1):
        of_day = (happened.work == work) & (happened.time_ms // DAY_MS == day) & (happened.time_ms < as_of)
        for at, name in enumerate(COUNTERS):
            column = happened.shown if name == EXPOSED else happened.labels[name.removeprefix("count_")]
            sums[at] += int(column[of_day].sum()) * WEIGHTS[today - day]
    return np.array(sums).astype(np.float32).tolist()


@given(rows=Happenings, apart=st.integers(0, 6), order=st.randoms(use_true_random=False))
def test_fading_counters_equal_plain_sums(rows, apart, order):
    happened = spread(rows, apart)
    moments = np.unique(np.concatenate([happened.time_ms, happened.time_ms + 1, [START + 40 * DAY_MS]]))
    swept = RECENT_BY_WORK.over_time(happened, COUNTERS, 4)
    for work in range(4):
        at = swept.at(np.full(len(moments), work), moments)
        assert at.tolist() == [plain(happened, work, int(moment)) for moment in moments]
    places = np.array(order.sample(range(len(happened)), len(happened)), int)
    first, states = np.zeros(5, np.int64), RECENT_BY_WORK.empty(len(COUNTERS))
    for some in np.array_split(places, 3):
        first, states = RECENT_BY_WORK.step_all(first, states, happened.take(some), COUNTERS)
    for moment in (int(happened.time_ms.max(initial=START)) + 1, START + 40 * DAY_MS):
        read = RECENT_BY_WORK.read(first, states, moment)
        assert read.tolist() == [plain(happened, work, moment) for work in range(4)]
    assert np.diff(first).max(initial=0) <= DAYS


def test_fading_counters_halve_and_end():
    happened = LocatedEvents.from_log(BASE, HEAD, events([(0, 0, 0, 0, 0b1, 0)] * 4))
    days = START + np.arange(DAYS + 1) * DAY_MS + 1
    swept = RECENT_BY_WORK.over_time(happened, COUNTERS, 4).at(np.zeros(len(days), int), days)
    assert swept[[0, 3, 6], 1].tolist() == [4.0, 2.0, 1.0]
    assert swept[DAYS - 1, 0] > 0 == swept[DAYS, 0]
    with pytest.raises(ValueError, match="must not fall"):
        RECENT_BY_WORK.over_time(happened, COUNTERS, 4).at(np.zeros(2, int), days[1::-1])
