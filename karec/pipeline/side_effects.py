"""Runs side effects after the response: one bounded queue and one thread for each.

``Cascade.run`` offers every page and returns. It never waits for a side effect, and no error of a side effect
changes or fails a page. Pages that find the queue full are dropped and counted.
"""

from __future__ import annotations

import atexit
import logging
import math
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

from karec.pipeline.checks import SURVIVABLE
from karec.pipeline.step import SideEffect
from karec.pipeline.types import EMPTY, Page, Request

MAX_REQUESTS = 1024
MAX_ITEMS = 2_000_000  # candidates of pending pages: 40 MB and their columns
EXIT_SECONDS = 5.0

_log = logging.getLogger("karec.pipeline")
_NUMBERS = ("seen", "done", "dropped", "failed", "pending")


@dataclass(frozen=True)
class SideEffectCounts:
    """How the requests of a side effect ended, in this process: seen = done + dropped + failed + pending.

    seen      offered
    done      ``run`` returned
    dropped   not run: the queue was full or closed
    failed    ``run`` or ``is_enabled`` raised
    pending   in the queue, or running
    own       counts of the side effect itself, for example rows_written and rows_lost of a rank log
    reasons   {reason: count} of dropped requests and of all errors, those of flush and close too
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
        """Returns the sums of both, under this name."""
        numbers = {key: getattr(self, key) + getattr(other, key) for key in _NUMBERS}
        own, reasons = Counter(self.own), Counter(self.reasons)
        own.update(other.own)
        reasons.update(other.reasons)
        return SideEffectCounts(self.name, **numbers, own=own, reasons=reasons)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON, the ``own`` counts at the same level as the others."""
        numbers = {key: getattr(self, key) for key in _NUMBERS}
        return {"name": self.name, **numbers, **self.own, "reasons": dict(self.reasons)}

    def __str__(self) -> str:
        numbers = {key: value for key, value in self.to_dict().items() if key not in ("name", "reasons")}
        numbers_text = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in numbers.items())
        reasons = "; ".join(f"{reason} ({n:,} times)" for reason, n in self.reasons.items())
        return f"{self.name}: {numbers_text}" + (f"; {reasons}" if reasons else "")


class SideEffectQueue:
    """Runs ``side_effect`` for each offered page. Any thread may call any method.

    At most ``max_requests`` requests are pending, with at most ``max_items`` candidates in the stages that
    the side effect reads; one request may have more if no other is pending. The queue holds the page itself:
    do not write into its arrays.

    The thread starts with the first offer. A child of ``os.fork`` has an empty queue, counts from 0 and a
    thread of its own. A queue that is not closed is closed when it is garbage-collected, or at interpreter
    exit: pending pages then get ``EXIT_SECONDS``, the rest is dropped. A process that ends by a signal or
    ``os._exit`` loses pending pages. Each kind of error is logged once (logger ``karec.pipeline``).
    """

    def __init__(
        self, side_effect: SideEffect, max_requests: int = MAX_REQUESTS, max_items: int = MAX_ITEMS
    ) -> None:
        if max_requests <= 0 or max_items <= 0:
            raise ValueError(
                f"max_requests and max_items must be positive, got {max_requests} and {max_items}"
            )
        self.side_effect = side_effect
        self._bounds = max_requests, max_items
        self._start_worker()
        _queues.add(self)

    def _start_worker(self) -> None:
        self._worker = Worker(self.side_effect, *self._bounds)
        self._finalizer = weakref.finalize(self, self._worker.stop)
        self._finalizer.atexit = False  # _finish_workers does more

    def _reset_in_child(self) -> None:
        self._finalizer.detach()
        is_closed = self._worker.is_closed
        self._start_worker()
        self._worker.is_closed = is_closed

    @property
    def name(self) -> str:
        return self.side_effect.name

    def offer(self, request: Request, page: Page) -> None:
        """Queues the page if the side effect is enabled for the request. Neither waits nor raises."""
        try:
            if not self.side_effect.is_enabled(request):
                return
            stages = self.side_effect.stages
            if stages is not None:
                page = replace(page, scored={stage: page.scored[stage] for stage in stages})
        except Exception as error:
            self._worker.count_failure(error)
        else:
            self._worker.put(request if self.side_effect.has_view else page.request, page)

    def counts(self) -> SideEffectCounts:
        return self._worker.counts()

    def flush(self) -> None:
        """Waits until all pages offered so far are done and the side effect has written what it holds."""
        self._worker.flush()

    def close(self) -> SideEffectCounts:
        """Waits until all pending pages are done and the side effect is closed; later offers are dropped."""
        self._worker.stop()
        self._worker.join()
        return self.counts()


class Worker:
    """Queue and thread of a side effect in one process. It holds no reference to its ``SideEffectQueue``."""

    def __init__(self, side_effect: SideEffect, max_requests: int, max_items: int) -> None:
        self.side_effect = side_effect
        self.max_requests = max_requests
        self.max_items = max_items
        self.is_closed = False
        # reentrant: the garbage collector may call stop while this thread holds it
        self._lock = threading.RLock()
        # an Event asks for a flush, None ends the thread
        self._entries: SimpleQueue[tuple[Request, Page, int] | threading.Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._drop_from = math.inf  # time.monotonic(), seconds
        self._n = dict.fromkeys((*_NUMBERS, "pending_items"), 0)
        self._reasons: Counter[str] = Counter()

    def put(self, request: Request, page: Page) -> None:
        n_items = sum(map(len, page.scored.values()))
        with self._lock:
            self._n["seen"] += 1
            refusal = self._refusal(n_items) or self._start()
            if refusal:
                self._n["dropped"] += 1
            else:
                self._n["pending"] += 1
                self._n["pending_items"] += n_items
                self._entries.put((request, page, n_items))
        if refusal:
            self._report(refusal, f"{refusal}, the request is dropped")

    def _refusal(self, n_items: int) -> str:
        """Returns why the queue takes no page with ``n_items``; "" if it does."""
        if self.is_closed:
            return "closed"
        if self._n["pending"] >= self.max_requests:
            return f"{self.max_requests:,} requests are pending"
        if self._n["pending"] and self._n["pending_items"] + n_items > self.max_items:
            return f"{self.max_items:,} items are pending"
        return ""

    def _start(self) -> str:
        """Starts the thread if it does not run. Returns why that is not possible, or ""."""
        if self._thread is not None:
            return ""
        thread = threading.Thread(target=self._run, name=f"karec-{self.side_effect.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is exiting
            return str(error)
        self._thread = thread
        _running.add(self)
        return ""

    def count_failure(self, error: Exception) -> None:
        with self._lock:
            self._n["seen"] += 1
            self._n["failed"] += 1
        self._report_error(error)

    def counts(self) -> SideEffectCounts:
        own = dict(self.side_effect.counts())
        with self._lock:
            numbers = {key: self._n[key] for key in _NUMBERS}
            return SideEffectCounts(self.side_effect.name, **numbers, own=own, reasons=dict(self._reasons))

    def flush(self) -> None:
        is_flushed = threading.Event()
        with self._lock:
            if self._thread is None or self.is_closed:
                return
            self._entries.put(is_flushed)
        is_flushed.wait()

    def stop(self, drop_from: float = math.inf) -> None:
        """Lets the thread end after the pending pages; those not run by ``drop_from`` are dropped."""
        with self._lock:
            self._drop_from = min(self._drop_from, drop_from)
            if self.is_closed:
                return
            self.is_closed = True
            if self._thread is not None:
                self._entries.put(None)
                return
        self._close()

    def join(self, seconds: float | None = None) -> bool:
        """Waits until the thread has ended, at most ``seconds``. Returns True if it has."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        next_flush_s: float | None = None  # time.monotonic() of the next flush
        while True:
            if next_flush_s is not None and next_flush_s <= time.monotonic():
                self._attempt(self.side_effect.flush)
                next_flush_s = None
            try:
                entry = self._entries.get(
                    timeout=None if next_flush_s is None else max(next_flush_s - time.monotonic(), 0)
                )
            except Empty:
                continue
            if entry is None:
                break
            if isinstance(entry, threading.Event):
                self._attempt(self.side_effect.flush)
                next_flush_s = None
                entry.set()
            else:
                self._run_one(*entry)
                next_flush_s = self._due()
            del entry  # a waiting thread must not hold a page
        self._close()
        _running.discard(self)

    def _run_one(self, request: Request, page: Page, n_items: int) -> None:
        is_late = time.monotonic() > self._drop_from
        is_done = not is_late and self._attempt(lambda: self.side_effect.run(request, page))
        with self._lock:
            self._n["pending"] -= 1
            self._n["pending_items"] -= n_items
            self._n["dropped" if is_late else "done" if is_done else "failed"] += 1
        if is_late:
            self._report("interpreter exit", "the interpreter exits, pending requests are dropped")

    def _due(self) -> float | None:
        try:
            return self.side_effect.due()
        except BaseException as error:
            self._report_error(error)
            return None

    def _close(self) -> None:
        self._attempt(self.side_effect.close)
        if self._reasons:
            self.warn(str(self.counts()))

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except BaseException as error:  # a SystemExit too: the thread must survive any error
            self._report_error(error)
            return False
        return True

    def _report_error(self, error: BaseException) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        kind = type(error).__name__ + (f": {reason}" if reason else "")  # no file names: few kinds
        cause = None if isinstance(error, SURVIVABLE) else error
        self._report(kind, f"{type(error).__name__}: {error}", cause)

    def _report(self, kind: str, message: str, error: BaseException | None = None) -> None:
        with self._lock:
            self._reasons[kind] += 1
            is_first = self._reasons[kind] == 1
        if is_first:
            self.warn(f"{self.side_effect.name}: {message}; more of this kind is only counted", error)

    def warn(self, message: str, error: BaseException | None = None) -> None:
        with suppress(Exception):  # a logging filter of the host may raise
            _log.warning("side effect %s", message, exc_info=error)


def _finish_workers() -> None:
    """Ends all workers at interpreter exit, which cuts off threads that still run then."""
    workers = list(_running)
    drop_from = time.monotonic() + EXIT_SECONDS
    for worker in workers:
        worker.stop(drop_from)
    for worker in workers:
        if not worker.join(max(drop_from + EXIT_SECONDS - time.monotonic(), 0)):
            worker.warn(f"did not end in time: {worker.counts()}")


def _reset_in_child() -> None:
    _running.clear()  # they belong to the parent
    for queue in _queues:
        queue._reset_in_child()


_queues: weakref.WeakSet[SideEffectQueue] = weakref.WeakSet()
_running: set[Worker] = set()
atexit.register(_finish_workers)
os.register_at_fork(after_in_child=_reset_in_child)
