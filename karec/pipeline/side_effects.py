"""Runs an observer after the answer: a bounded queue and one thread for each observer.

``Cascade.run`` offers every answer and returns; it never waits for an observer, and nothing that an observer
does can change or fail an answer. What the queue has no room for is dropped and counted.

Threads    Any thread may call any method of ``SideEffectQueue``. The observer's ``is_enabled`` runs on the
           request's thread, ``counts`` on any, everything else of it on the queue's own thread, one call at a
           time. The queue holds the answer itself, not a copy: do not write into its arrays.
Start      The thread starts with the first request that is offered, in the process that offers it.
Fork       A child of ``os.fork`` has an empty queue, counts from 0 and a thread of its own; what was pending
           belongs to the parent, which goes on.
End        ``close`` waits until everything pending is observed and the observer is closed. A queue that is
           not closed is, when it is garbage-collected (then in the background) or when the interpreter exits:
           for ``EXIT_SECONDS`` it observes what is pending, then drops the rest and has as long again to
           close. A process that ends in another way (a signal, ``os._exit``, a child of multiprocessing)
           loses what is pending, and what the observer holds back: call ``close`` first.
Errors     Each kind is logged once, as a warning of the logger ``karec.observers``, and counted in
           ``reasons``.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from karec.pipeline.step import SURVIVABLE, SideEffect
from karec.pipeline.types import EMPTY, Page, Request

MAX_REQUESTS = 1024
MAX_WORKS = 2_000_000  # 40 MB of candidates, and their columns
EXIT_SECONDS = 5.0

_log = logging.getLogger("karec.observers")
_running: set[ObserverThread] = set()


_NUMBERS = ("seen", "done", "dropped", "failed", "pending")


@dataclass(frozen=True)
class SideEffectCounts:
    """What became of the requests that an observer chose, in this process: seen = done + dropped + failed +
    pending.

    seen      offered
    done      observed
    dropped   not observed: the queue was full, or closed
    failed    ``run`` (or ``is_enabled``) raised
    pending   in the queue, or being observed
    own       the observer's own counts; a rank log's are rows_written, rows_held, rows_lost, and
              short_of_time, requests that it leaves out because substitutes ran
    reasons   {why: how often}, for what was dropped and for every error, those of flushing and closing too
    """

    name: str
    seen: int = 0
    done: int = 0
    dropped: int = 0
    failed: int = 0
    pending: int = 0
    own: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    reasons: Mapping[str, int] = field(default_factory=lambda: EMPTY)

    def plus(self, other: SideEffectCounts) -> SideEffectCounts:
        """Of both, under this name."""
        numbers = {key: getattr(self, key) + getattr(other, key) for key in _NUMBERS}
        own, reasons = Counter(self.own), Counter(self.reasons)
        own.update(other.own)
        reasons.update(other.reasons)
        return SideEffectCounts(self.name, **numbers, own=own, reasons=reasons)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, ``own`` beside the others."""
        counted = {key: getattr(self, key) for key in _NUMBERS}
        return {"name": self.name, **counted, **self.own, "reasons": dict(self.reasons)}

    def __str__(self) -> str:
        numbers = {key: value for key, value in self.as_dict().items() if key not in ("name", "reasons")}
        listed = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in numbers.items())
        why = "; ".join(f"{reason} ({n:,} times)" for reason, n in self.reasons.items())
        return f"{self.name}: {listed}" + (f"; {why}" if why else "")


_Entry = tuple[Request, Page, int]


class ObserverThread:
    """A queue's state in one process, and its thread. ``lock`` is over the numbers and the order of
    ``entries``."""

    def __init__(self, observer: SideEffect, max_requests: int, max_works: int) -> None:
        self.observer, self.max_requests, self.max_works = observer, max_requests, max_works
        # stop may be called by the garbage collector inside a block that holds it
        self.lock = threading.RLock()
        # Event: flush; None: the last
        self.entries: SimpleQueue[_Entry | threading.Event | None] = SimpleQueue()
        self.thread: threading.Thread | None = None
        self.closed = False
        self.drop_from = float("inf")  # time.monotonic(): what is not observed by then is dropped
        self.seen = self.done = self.dropped = self.failed = self.pending = self.pending_works = 0
        self.reasons: Counter[str] = Counter()

    def put(self, request: Request, recommendation: Page) -> None:
        works = sum(map(len, recommendation.scored.values()))
        with self.lock:
            self.seen += 1
            refused = self._why_full(works) or self._start()
            if refused:
                self.dropped += 1
            else:
                self.pending += 1
                self.pending_works += works
                self.entries.put((request, recommendation, works))
        if refused:
            self._report(refused, f"{refused}, the request is dropped")

    def _why_full(self, works: int) -> str:
        """Why there is no room for so many works; "" if there is."""
        if self.closed:
            return "closed"
        if self.pending >= self.max_requests:
            return f"{self.max_requests:,} requests are pending"
        if self.pending and self.pending_works + works > self.max_works:
            return f"{self.max_works:,} works are pending"
        return ""

    def _start(self) -> str:
        """Start the thread, if it does not run; why that is not possible, or ""."""
        if self.thread is not None:
            return ""
        thread = threading.Thread(target=self._run, name=f"karec-{self.observer.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is exiting
            return str(error)
        self.thread = thread
        _running.add(self)
        return ""

    def refuse(self, error: Exception) -> None:
        with self.lock:
            self.seen += 1
            self.failed += 1
        self._report_error(error)

    def counts(self) -> SideEffectCounts:
        own = dict(self.observer.counts())
        with self.lock:
            numbers = self.seen, self.done, self.dropped, self.failed, self.pending
            return SideEffectCounts(self.observer.name, *numbers, own, dict(self.reasons))

    def flush(self) -> None:
        flushed = threading.Event()
        with self.lock:
            if self.thread is None or self.closed:
                return
            self.entries.put(flushed)
        flushed.wait()

    def stop(self, drop_from: float = float("inf")) -> None:
        """Take no more, and let the thread end; what it has not observed by ``drop_from`` is dropped."""
        with self.lock:
            self.drop_from = min(self.drop_from, drop_from)
            if self.closed:
                return
            self.closed = True
            if self.thread is not None:
                self.entries.put(None)
                return
        self._end()

    def join(self, seconds: float | None = None) -> bool:
        """Wait until the thread has ended, at most so long; whether it has."""
        if self.thread is None:
            return True
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def _run(self) -> None:
        due: float | None = None  # when to flush
        while True:
            if due is not None and due <= time.monotonic():
                self._attempt(self.observer.flush)
                due = None
            try:
                entry = self.entries.get(timeout=None if due is None else max(due - time.monotonic(), 0))
            except Empty:
                continue
            if entry is None:
                break
            if isinstance(entry, threading.Event):
                self._attempt(self.observer.flush)
                due = None
                entry.set()
            else:
                self._observe(*entry)
                due = self._due()
            del entry  # nothing of an answer is held while the thread waits
        self._end()
        _running.discard(self)

    def _observe(self, request: Request, recommendation: Page, works: int) -> None:
        late = time.monotonic() > self.drop_from
        done = not late and self._attempt(lambda: self.observer.run(request, recommendation))
        with self.lock:
            self.pending -= 1
            self.pending_works -= works
            self.done += done
            self.dropped += late
            self.failed += not late and not done
        if late:
            self._report("interpreter exit", "the interpreter exits, what is pending is dropped")

    def _due(self) -> float | None:
        try:
            return self.observer.due()
        except BaseException as error:
            self._report_error(error)
            return None

    def _end(self) -> None:
        self._attempt(self.observer.close)
        if self.reasons:
            self.warn(str(self.counts()))

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except BaseException as error:  # a SystemExit too: the thread must outlive whatever an observer does
            self._report_error(error)
            return False
        return True

    def _report_error(self, error: BaseException) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        # without file names: there are few kinds
        kind = type(error).__name__ + (f": {reason}" if reason else "")
        self._report(
            kind, f"{type(error).__name__}: {error}", None if isinstance(error, SURVIVABLE) else error
        )

    def _report(self, kind: str, message: str, error: BaseException | None = None) -> None:
        with self.lock:
            self.reasons[kind] += 1
            first = self.reasons[kind] == 1
        if first:
            self.warn(f"{self.observer.name}: {message}; more of this kind is only counted", error)

    def warn(self, message: str, error: BaseException | None = None) -> None:
        with suppress(Exception):  # a logging filter of the host's may raise
            _log.warning("observer %s", message, exc_info=error)


def _finish_all() -> None:
    """At exit. Threads that still run then are cut off by the interpreter."""
    threads = list(_running)
    drop_from = time.monotonic() + EXIT_SECONDS
    for thread in threads:
        thread.stop(drop_from)
    for thread in threads:
        if not thread.join(max(drop_from + EXIT_SECONDS - time.monotonic(), 0)):
            thread.warn(f"did not end in time: {thread.counts()}")


atexit.register(_finish_all)
os.register_at_fork(after_in_child=_running.clear)  # they are the parent's


class SideEffectQueue:
    """Offers answers to ``observer`` on a thread of its own. The module's docstring says who may call what,
    and when.

    At most ``max_requests`` are pending, and at most ``max_works`` works in the stages that the observer
    watches; a single request may have more of them when nothing else is pending.
    """

    def __init__(
        self, side_effect: SideEffect, max_requests: int = MAX_REQUESTS, max_works: int = MAX_WORKS
    ) -> None:
        if max_requests <= 0 or max_works <= 0:
            raise ValueError(
                f"max_requests and max_works must be positive, got {max_requests} and {max_works}"
            )
        self.side_effect = side_effect
        self._bounds = max_requests, max_works
        self._begin()
        _queues.add(self)

    def _begin(self) -> None:
        self._thread = ObserverThread(self.side_effect, *self._bounds)
        self._collected = weakref.finalize(self, self._thread.stop)
        self._collected.atexit = False  # _finish_all does more

    def _begin_in_child(self) -> None:
        self._collected.detach()
        closed = self._thread.closed
        self._begin()
        self._thread.closed = closed

    @property
    def name(self) -> str:
        return self.side_effect.name

    def offer(self, request: Request, recommendation: Page) -> None:
        """Hand an answer over, if the observer chooses the request. Waits for nothing and raises nothing."""
        try:
            if not self.side_effect.is_enabled(request):
                return
            watched = self.side_effect.stages
            if watched is not None:
                scored = {stage: recommendation.scored[stage] for stage in watched}
                recommendation = replace(recommendation, scored=scored)
        except Exception as error:
            self._thread.refuse(error)
        else:
            self._thread.put(request if self.side_effect.has_view else recommendation.request, recommendation)

    def counts(self) -> SideEffectCounts:
        """What became of the requests so far."""
        return self._thread.counts()

    def flush(self) -> None:
        """Wait until all that was offered before is observed, and what the observer holds back is flushed."""
        self._thread.flush()

    def close(self) -> SideEffectCounts:
        """Wait until all that is pending is observed, and the observer closed; what was lost is logged and
        returned.

        What is offered afterwards is dropped. Calling it again does nothing.
        """
        self._thread.stop()
        self._thread.join()
        return self.counts()


_queues: weakref.WeakSet[SideEffectQueue] = weakref.WeakSet()


def _begin_in_child() -> None:
    for queue in _queues:
        queue._begin_in_child()


os.register_at_fork(after_in_child=_begin_in_child)
