"""Opening hours of rooms: on most days, at about one hour, for one to five hours, more in the evening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.policy import HOURS
from karec.lab.simulate.world.sampling import weighted_rows
from karec.lab.simulate.world.tastes import UTC_OFFSET_MS, pair_uniform
from karec.times import DAY_MS, HOUR_MS

OPEN_DAY_FRACTION = 0.8


@dataclass(frozen=True, eq=False)
class OpeningHours:
    """``hour``, ``length_ms`` of R rooms. Days and minutes are a fixed function of room, day and ``salt``."""

    HALF_HOUR_MS: ClassVar[int] = HOUR_MS // 2
    hour: NDArray[Any]
    length_ms: NDArray[Any]
    salt: int

    @classmethod
    def from_random(cls, n: int, rng: np.random.Generator) -> Self:
        hour = weighted_rows(np.array(HOURS, float), n, rng)
        return cls(hour, (rng.uniform(1.0, 5.0, n) * HOUR_MS).astype(np.int64), int(rng.integers(1 << 62)))

    def is_open_at(self, rooms: NDArray[Any], time_ms: int) -> NDArray[Any]:
        """Returns (N,) bool: True for ``rooms`` (N,) open at a moment. A room may stay open past midnight."""
        today = (time_ms + UTC_OFFSET_MS) // DAY_MS
        is_open = np.zeros(len(rooms), bool)
        for day in (today - 1, today):
            days = np.full(len(rooms), day)
            delay_hours = pair_uniform(rooms, days, self.salt + 1)
            start = (
                day * DAY_MS - UTC_OFFSET_MS + (HOUR_MS * (self.hour[rooms] + delay_hours)).astype(np.int64)
            )
            opens_on_day = pair_uniform(rooms, days, self.salt) < OPEN_DAY_FRACTION
            is_open |= opens_on_day & (start <= time_ms) & (time_ms < start + self.length_ms[rooms])
        return is_open
