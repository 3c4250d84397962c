"""The turns of requests that share threads, first come, first served: how long one waits, and how long each
may take.

The wait of one that comes now is the work before it, shared by the threads: of those that run, what is left
of the time that they were expected to take; of those that wait, what they usually take, or with a deadline as
little as they can take, since they give way for whoever is behind them. Where a thread is free there is no
wait, whatever happened before.

A request with a deadline that begins may take the least of
    what is left until its deadline,
    what leaves each one behind it, in their order, as little as they can take until theirs,
    its share of what is left, as one of those that wait for a thread.
So steps give way before requests are refused, and the first in a queue does not take the time of all others.

What a request needs at least comes as a sum over its steps, of what each takes in nine of ten requests. They
are not all slow at once: nine of ten requests take at most a ``share`` of their sum, learnt of all that have
a deadline.

Any thread may call any method: each reads ``list`` of a dict, which is atomic. Times are of
``time.perf_counter``.
"""

from __future__ import annotations

import math

OF_NEW = 0.1  # the weight of the newest time in the mean
LEAST_SHARE = 0.5
QUANTILE, STEP = 0.9, 0.02  # of shares; how far the newest one moves what is known


class Turn:
    """One request's. ``due``: when its answer is wanted, and ``least_ms``: what it takes when all gives way
    that may; inf and None: it takes as long as it takes. ``may_ms`` is known when it begins; ``ends``: when
    it is expected to.
    """

    __slots__ = ("due", "ends", "least_ms", "may_ms")

    def __init__(self, due: float = math.inf, least_ms: float | None = None) -> None:
        self.due, self.least_ms = due, least_ms
        self.may_ms = math.inf
        self.ends = 0.0


class Turns:
    """Of ``threads``. ``usual_ms``: the mean of what requests took of late; 0 while none is known. ``share``:
    of the sum of their steps' times, which nine of ten requests take at most.
    """

    def __init__(self, threads: int) -> None:
        self.threads, self.usual_ms, self.share = threads, 0.0, 1.0
        self._waiting: dict[Turn, None] = {}  # in their order
        self._running: dict[Turn, None] = {}

    def comes(self, turn: Turn) -> None:
        """It waits for a thread from now on."""
        self._waiting[turn] = None

    def begins(self, turn: Turn, now: float) -> None:
        """A thread has taken it: ``turn.may_ms`` is known."""
        self._running[turn] = None
        del self._waiting[turn]
        expected_ms = self.usual_ms
        if turn.least_ms is not None:
            turn.may_ms = self._may_ms(turn, turn.least_ms, now)
            expected_ms = max(min(expected_ms or math.inf, turn.may_ms), turn.least_ms)
        turn.ends = now + expected_ms / 1e3

    def is_over(self, turn: Turn, ms: float, failed: bool = False) -> None:
        """It ran for ``ms``. One that failed counts where it took longer than usual, as many fail before any
        work."""
        del self._running[turn]
        if failed and ms < self.usual_ms:
            return
        self.usual_ms = ms if not self.usual_ms else self.usual_ms + OF_NEW * (ms - self.usual_ms)

    def took(self, ms: float, sum_ms: float) -> None:
        """A request took ``ms``, and its steps usually ``sum_ms``. By stochastic approximation (Robbins,
        Monro 1951): O(1)."""
        if sum_ms > 0:
            more = ms > self.share * sum_ms
            self.share = min(max(self.share + STEP * (QUANTILE if more else QUANTILE - 1), LEAST_SHARE), 1.0)

    def waiting_ms(self, now: float, has_deadline: bool = False) -> float:
        """How long one that comes now would wait for a thread, by estimate. ``has_deadline``: those before it
        that have one give way for it.
        """
        waiting, running = list(self._waiting), list(self._running)
        if len(waiting) + len(running) < self.threads:
            return 0.0
        left = sum(max(turn.ends - now, 0.0) for turn in running) * 1e3
        return (left + sum(self._work_ms(turn, has_deadline) for turn in waiting)) / self.threads

    def _work_ms(self, turn: Turn, gives_way: bool) -> float:
        return turn.least_ms if gives_way and turn.least_ms is not None else self.usual_ms

    def _may_ms(self, turn: Turn, least_ms: float, now: float) -> float:
        behind, left_ms, before_ms = list(self._waiting), (turn.due - now) * 1e3, 0.0
        share_ms = left_ms * self.threads / max(len(behind) + len(self._running), self.threads)
        may_ms = max(share_ms, min(least_ms, left_ms))
        for each in behind:
            before_ms += self._work_ms(each, True) / self.threads
            may_ms = min(may_ms, (each.due - now) * 1e3 - before_ms)
        return may_ms
