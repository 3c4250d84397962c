"""Limits the CPU time of a process that works in pieces."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """``rest()`` after each piece of work limits the process to ``share`` of a core on average; 1: no limit.

    ``wait(seconds)``, ``worked()`` (CPU seconds of the process) and ``now()`` replace the clock in tests.
    Raises ValueError unless 0 < share ≤ 1.
    """

    def __init__(
        self,
        share: float,
        wait: Callable[[float], object] = time.sleep,
        worked: Callable[[], float] = time.process_time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is {share:g}, expected a fraction of a core above 0 and at most 1")
        self.share, self._wait, self._worked, self._now = share, wait, worked, now
        self._start = (worked(), now())

    def rest(self) -> None:
        cpu_s = self._worked() - self._start[0]
        elapsed_s = self._now() - self._start[1]
        pause = cpu_s / self.share - elapsed_s
        if self.share < 1 and pause > 0:
            self._wait(pause)
        self._start = (self._worked(), self._now())
