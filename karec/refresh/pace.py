"""A share of a core: who works in pieces rests between them."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """``rest()`` after each piece of work: the process uses ``share`` of a core's time on average, at most.

    ``share`` 1 never rests. ``wait(seconds)``, and ``worked()``, the process's seconds of processor time, are
    the clock's. ValueError: a share that is not above 0 and at most 1.
    """

    def __init__(
        self,
        share: float,
        wait: Callable[[float], object] = time.sleep,
        worked: Callable[[], float] = time.process_time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share = {share:g}: expected a share of a core, above 0 and at most 1")
        self.share, self._wait, self._worked, self._now = share, wait, worked, now
        self._began = (worked(), now())

    def rest(self) -> None:
        worked, passed = self._worked() - self._began[0], self._now() - self._began[1]
        pause = worked / self.share - passed
        if self.share < 1 and pause > 0:
            self._wait(pause)
        self._began = (self._worked(), self._now())
