"""Decides from the log if users want items again that they have consumed, for example bought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000
DAY_MINUTES = 1440
HALF_WIDTH = 0.98  # of the 95 % interval of the square root of a count
THRESHOLD = 0.5  # of the ratio: measured 1.1 and more on shops with repeats, 0.3 and less on others


@dataclass(frozen=True)
class RepeatRate:
    """The number of repeats, divided by the number if users draw items by popularity alone.

    ``lower`` and ``upper`` bound the 95 % interval, 0 and infinity if the log is too short.
    """

    ratio: float
    lower: float
    upper: float

    @property
    def is_wanted(self) -> bool:
        return self.lower > THRESHOLD

    def __str__(self) -> str:
        outcome = "wanted" if self.is_wanted else "not wanted"
        outcome = "undecided" if self.lower <= THRESHOLD <= self.upper else outcome
        rate = f"{self.ratio:.2f} [{self.lower:.2f}, {self.upper:.2f}]"
        return f"repeats are {rate} times those of a choice by popularity: {outcome}"


def measure_repeats(user: NDArray[Any], item: NDArray[Any], time_ms: NDArray[Any]) -> RepeatRate:
    """Returns the rate of events (M,) whose user has an event of the item at least a day earlier.

    Repeats within a day are one visit. Each earlier item of the user is expected with the item's fraction of
    all events. The interval counts users, not events, if few users make the repeats. Cost: O(M log M).
    """
    unknown = RepeatRate(0.0, 0.0, np.inf)
    if not len(user):
        return unknown
    _, user = np.unique(user, return_inverse=True)
    _, item = np.unique(item, return_inverse=True)
    minute = (time_ms - time_ms.min()) // MINUTE_MS
    order = np.lexsort((minute, user))
    user, item, minute = user[order], item[order], minute[order]
    _, first, pair = np.unique(user * (item.max() + 1) + item, return_index=True, return_inverse=True)
    is_repeat = minute - minute[first[pair]] >= DAY_MINUTES
    first.sort()
    shares = np.cumsum(np.bincount(item)[item[first]] / len(item))
    moment = user * (minute.max() + DAY_MINUTES + 1) + minute  # ascending
    end = np.searchsorted(moment[first], moment - DAY_MINUTES, side="right")
    sums = np.concatenate([[0.0], shares])
    expected = float((sums[end] - sums[np.searchsorted(user[first], user)]).sum())
    if expected <= 0:
        return unknown
    repeats = np.bincount(user, is_repeat)
    count = repeats.sum()
    per_user = max((repeats**2).sum() / count, 1.0) if count else 1.0
    lower = max(np.sqrt(count / per_user) - HALF_WIDTH, 0.0) ** 2
    upper = (np.sqrt(count / per_user + 1) + HALF_WIDTH) ** 2
    return RepeatRate(count / expected, lower * per_user / expected, upper * per_user / expected)
