"""One run: requests at the moments of a schedule, which nothing that the service does moves.

A request that is due takes the connection that has been free for longest; where none is free it waits, and
the waiting counts. Cost: one core gives some thousands of requests a second (`karec load --help`); where the
generator itself is late, the records say so.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import uvloop

from karec.load.alarm import Alarm, clock
from karec.load.pool import Pool
from karec.load.records import LOST, TIMED_OUT, UNCONNECTED, WRONG, Records
from karec.load.schedule import moments
from karec.load.target import Target
from karec.load.traffic import Asked, Sent, Traffic

LOOK_S, LEAD_S, OK = 0.1, 0.05, 200
Progress = Callable[[int, int, str], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """``rate`` requests a second for ``seconds``; ``timeout_s`` from the moment that a request is due."""

    target: Target
    asked: Asked
    rate: float
    seconds: float
    even: bool = False
    connections: int = 64
    timeout_s: float = 10.0
    seed: int = 0

    async def play(self, progress: Progress | None = None) -> Records:
        """Unavailable: no connection could be opened at the start."""
        rng = np.random.default_rng(self.seed)
        due = moments(self.rate, self.seconds, self.even, rng).tolist()
        return await _Run(self, Records.of(due), Traffic(self.target, self.asked, rng, len(due))).play(
            progress
        )


def in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs ``work`` to its end in an event loop of uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class _Run:
    def __init__(self, plan: Plan, records: Records, traffic: Traffic) -> None:
        self._plan, self._records, self._traffic = plan, records, traffic
        self._pool = Pool(
            plan.target,
            free=self._serve_waiting,
            answered=self._answered,
            lost=self._lost,
            down=self._fail_waiting,
        )
        self._alarm = Alarm(asyncio.get_running_loop(), self._begin_due)
        self._start, self._next, self._finished = 0.0, 0, 0
        self._waiting: deque[tuple[int, Sent]] = deque()
        self._running: dict[int, Sent] = {}

    async def play(self, progress: Progress | None) -> Records:
        records, n = self._records, len(self._records.due)
        try:
            await self._pool.open(self._plan.connections)
            cpu, self._start = time.process_time(), clock() + LEAD_S
            self._set_alarm()
            while self._finished < n:
                await asyncio.sleep(LOOK_S)
                self._drop_late(self._now() - self._plan.timeout_s)
                if progress is not None:
                    progress(self._finished, n, f"{self._plan.rate:,g} requests a second")
            records.cpu_s, records.wall_s = time.process_time() - cpu, self._now()
        finally:
            self._alarm.close()
            await self._pool.close()
        return records

    def _now(self) -> float:
        return clock() - self._start

    def _set_alarm(self) -> None:
        if self._next < len(self._records.due):
            self._alarm.set(self._start + self._records.due[self._next])

    def _begin_due(self) -> None:
        due, now = self._records.due, self._now()
        while self._next < len(due) and due[self._next] <= now:
            number, self._next = self._next, self._next + 1
            self._begin(number)
        self._set_alarm()

    def _begin(self, number: int) -> None:
        self._records.begun[number] = self._now()
        sent = self._traffic.request(number)
        self._records.event[number] = sent.user is None
        if self._pool.is_down:
            self._finish(number, UNCONNECTED)
        elif self._waiting or not self._send(number, sent):
            self._waiting.append((number, sent))

    def _send(self, number: int, sent: Sent) -> bool:
        if not self._pool.send(number, sent.bytes):
            return False
        self._running[number] = sent
        self._records.sent[number] = self._now()
        return True

    def _serve_waiting(self) -> None:
        while self._waiting and self._send(*self._waiting[0]):
            self._waiting.popleft()

    def _answered(self, number: int, status: int, body: bytes) -> None:
        self._records.done[number] = self._now()
        sent = self._running.pop(number)
        if status == OK:
            told = self._traffic.told(sent, body)
            if told is None:
                status = WRONG
            else:
                self._records.degraded.update(told.degraded)
                self._records.refused.update(told.refused)
                self._records.taken += told.events
                if sent.user is None and told.events == sent.last - sent.first + 1:
                    self._records.taken_ids.append((sent.first, sent.last))
        self._finish(number, status)

    def _lost(self, number: int) -> None:
        del self._running[number]
        self._records.done[number] = self._now()
        self._finish(number, LOST)

    def _fail_waiting(self) -> None:
        while self._waiting:
            self._finish(self._waiting.popleft()[0], UNCONNECTED)

    def _drop_late(self, due_before: float) -> None:
        due = self._records.due
        for number in [number for number in self._running if due[number] < due_before]:
            del self._running[number]
            self._pool.drop(number)
            self._finish(number, TIMED_OUT)
        while self._waiting and due[self._waiting[0][0]] < due_before:
            self._finish(self._waiting.popleft()[0], TIMED_OUT)

    def _finish(self, number: int, status: int) -> None:
        self._records.status[number] = status
        self._finished += 1
