"""Calls of a recall channel, or of a state store, that nobody waits for longer than their deadline.

Worker     A call runs on a thread of its own, one that an earlier call is done with where there is one. A
           thread is never killed: what has not answered when the deadline is over goes on, its answer is
           thrown away and counted.
Busy       While a late call still runs, the channel is not called again: ``Unavailable``, in microseconds. So
           a channel that hangs costs as many threads as requests ran at that moment, and no more however many
           come.
Deadline   From the moment the call begins. What has answered by the time the request looks counts as in time.
Fork       In a child of ``os.fork`` nothing runs, nothing is late, and counts begin at 0.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from karec.errors import Unavailable

T = TypeVar("T")
_log = logging.getLogger("karec.pipeline")


@dataclass(frozen=True)
class DeadlineCounts:
    """What became of the requests that wanted a channel: answered in time + ``late`` + ``busy`` = ``asked``.

    ``running``: late calls that have not ended yet; ``failed``: late calls that raised in the end.
    """

    asked: int = 0
    late: int = 0
    busy: int = 0
    running: int = 0
    failed: int = 0


class Deadline:
    """``timeout_ms`` for each call of the channel ``name``. Any thread may call any method."""

    def __init__(self, name: str, timeout_ms: float) -> None:
        self.name, self.timeout_ms = name, timeout_ms
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        self.lock = threading.Lock()
        self.asked = self.late = self.busy = self.running = self.failed = 0

    def begin(self, call: Callable[[], T], at_most_ms: float | None = None) -> Call[T]:
        """``call()`` on a worker from now on; where an earlier call is late and still runs, one that is
        refused. It has ``at_most_ms`` where that is less than the channel's time."""
        with self.lock:
            self.asked += 1
            self.busy += self.running > 0
            refused = self.running > 0
        within_ms = self.timeout_ms if at_most_ms is None else min(self.timeout_ms, at_most_ms)
        begun = Call(self, call, refused, within_ms)
        if not refused:
            _worker().put(begun)
        return begun

    def counts(self) -> DeadlineCounts:
        with self.lock:
            return DeadlineCounts(self.asked, self.late, self.busy, self.running, self.failed)


class Call(Generic[T]):
    """One call of a channel on a worker. Calling it gives what the channel gives, or raises what it raises,
    or ``Unavailable``: late or busy."""

    def __init__(self, deadline: Deadline, call: Callable[[], T], refused: bool, within_ms: float) -> None:
        self.deadline, self.refused, self.within_ms = deadline, refused, within_ms
        self._call: Callable[[], T] | None = call
        self._until = time.perf_counter() + within_ms / 1e3
        self._ended, self._late = threading.Event(), False
        self._value: T
        self._error: BaseException | None = None

    def run(self) -> None:
        """On the worker's thread; raises nothing."""
        assert self._call is not None
        try:
            self._value = self._call()
        except BaseException as error:  # it is raised where the request asks, a SystemExit too
            self._error = error
        self._call = None  # what it holds goes now
        with self.deadline.lock:
            self._ended.set()
            failed = self._late and self._error is not None
            self.deadline.failed += failed
            first = failed and self.deadline.failed == 1
        if first:
            name = self.deadline.name
            _log.warning("%s failed after its deadline; more is only counted", name, exc_info=self._error)
        with self.deadline.lock:  # last of all: until then it runs
            self.deadline.running -= self._late

    def __call__(self) -> T:
        name, ms = self.deadline.name, self.deadline.timeout_ms
        if self.refused:
            raise Unavailable(f"{name} is busy: an earlier call is past its {ms:g} ms and still runs")
        if not self._ended.wait(max(self._until - time.perf_counter(), 0.0)) and self.let_go():
            raise Unavailable(f"{name} did not answer within {self.within_ms:.4g} ms")
        if self._error is not None:
            raise self._error
        return self._value

    def let_go(self) -> bool:
        """Nobody waits for the answer any more; whether the call is late by that."""
        with self.deadline.lock:
            if self.refused or self._late or self._ended.is_set():
                return False
            self._late = True
            self.deadline.late += 1
            self.deadline.running += 1
            return True


Calls = SimpleQueue[Call[Any]]


def _worker() -> Calls:
    """The calls of a thread that is free: one that waits, or a new one."""
    try:
        return _free.pop()
    except IndexError:
        calls: Calls = SimpleQueue()
        threading.Thread(target=_work, args=(calls,), name="karec-recall", daemon=True).start()
        return calls


def _work(calls: Calls) -> None:
    while True:
        call = calls.get()
        call.run()
        del call  # nothing of a request is held while the thread waits
        _free.append(calls)


def _begin_in_child() -> None:
    _free.clear()
    for deadline in _all:
        deadline._begin_anew()


_free: list[Calls] = []  # of threads that wait; append and pop are atomic
_all: weakref.WeakSet[Deadline] = weakref.WeakSet()
os.register_at_fork(after_in_child=_begin_in_child)
