"""Limit of the processor time of a process that works in pieces."""

from __future__ import annotations

import time
from collections.abc import Callable


class CpuLimit:
    """Limit of the CPU time of a process that works in pieces: ``share`` of a core on average; 1: no limit.

    ``wait(seconds)``, ``cpu_s()`` (CPU seconds of the process) and ``now_s()`` replace the clock in tests.
    Raises ValueError unless 0 < share ≤ 1.
    """

    def __init__(
        self,
        share: float,
        wait: Callable[[float], object] = time.sleep,
        cpu_s: Callable[[], float] = time.process_time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is {share:g}, expected a fraction of a core above 0 and at most 1")
        self.share, self._wait, self._cpu_s, self._now_s = share, wait, cpu_s, now_s
        self._start = (cpu_s(), now_s())

    def rest(self) -> None:
        """Waits after a piece of work until the average is within the limit."""
        used_s = self._cpu_s() - self._start[0]
        elapsed_s = self._now_s() - self._start[1]
        pause_s = used_s / self.share - elapsed_s
        if self.share < 1 and pause_s > 0:
            self._wait(pause_s)
        self._start = (self._cpu_s(), self._now_s())
