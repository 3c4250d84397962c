"""Bounded queue in front of a pool of threads, and a rate limit. Both refuse calls under overload."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, get_ident
from typing import TypeVar

from karec.serve.metrics import Metrics
from karec.serve.problems import ProblemError

T = TypeVar("T")

NEW_WEIGHT = 0.1  # of the newest run time in the mean


class RateLimit:
    """Token bucket that holds at most the tokens of one second. Any number of threads may call."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._lock = Lock()
        self._n_tokens = float(per_second)
        self._time_s = clock()

    def take(self) -> float:
        """Uses a token and returns 0.0. If there is none, returns the seconds until the next one."""
        with self._lock:
            now_s = self._clock()
            self._n_tokens = min(self._n_tokens + (now_s - self._time_s) * self.per_second, self.per_second)
            self._time_s = now_s
            if self._n_tokens < 1.0:
                return (1.0 - self._n_tokens) / self.per_second
            self._n_tokens -= 1.0
            return 0.0


class AdmissionQueue:
    """At most `threads` calls run and `max_size` run or wait, first come, first served.

    The event loop's thread calls all methods. The wait of a new call is estimated from the mean run time:
    a call is refused if it would wait longer than `max_wait_ms`.
    """

    def __init__(self, name: str, threads: int, max_wait_ms: float, max_size: int, metrics: Metrics) -> None:
        self.name = name
        self.threads = threads
        self.max_wait_ms = max_wait_ms
        self.max_size = max_size
        self.mean_ms = 0.0
        self.n_calls = 0  # running or waiting
        self._metrics = metrics
        self._starts: dict[int, float] = {}  # {thread: when its call began}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"karec-{name}")

    @property
    def has_waiting_calls(self) -> bool:
        """True if calls wait for a thread."""
        return self.n_calls > self.threads

    def longest_run_s(self) -> float:
        """Returns how long the oldest running call has been running, in seconds."""
        now = time.perf_counter()
        return max((now - start for start in list(self._starts.values())), default=0.0)

    def check(self, max_wait_ms: float = math.inf) -> None:
        """Raises ProblemError 503 if one more call does not fit, or would wait longer than `max_wait_ms`."""
        n_ahead = self.n_calls + 1 - self.threads
        wait_ms = max(n_ahead, 0) * self.mean_ms / self.threads
        limit_ms = max(min(self.max_wait_ms, max_wait_ms), 0.0)
        if self.n_calls >= self.max_size:
            reason, detail = (
                "queue full",
                f"{self.n_calls} calls run or wait, expected at most {self.max_size}",
            )
        elif wait_ms > limit_ms:
            reason = "wait too long"
            detail = f"the call would wait about {wait_ms:.0f} ms, expected at most {limit_ms:.0f} ms"
        else:
            return
        raise ProblemError(503, detail, retry_after_s=wait_ms / 1e3, reason=reason)

    async def run(self, function: Callable[[], T]) -> T:
        """Returns `function()`, called on a thread of the pool. Raises what it raises."""
        arrival = time.perf_counter()
        self.n_calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, function, arrival)
        finally:
            self.n_calls -= 1

    def close(self) -> None:
        """Waits for the running calls."""
        self._pool.shutdown()

    def _run(self, function: Callable[[], T], arrival: float) -> T:
        start = self._starts[get_ident()] = time.perf_counter()
        self._metrics.add_queue_wait(self.name, start - arrival)
        try:
            result = function()
        finally:
            del self._starts[get_ident()]
        # Failed calls are often short, so they do not change the mean.
        run_ms = (time.perf_counter() - start) * 1e3
        self.mean_ms += (run_ms - self.mean_ms) * (NEW_WEIGHT if self.mean_ms else 1.0)
        return result
