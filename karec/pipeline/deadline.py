"""Deadlines of sources, run times that decide about fallbacks, and the bound on concurrent requests."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from karec.errors import ContractError, Unavailable
from karec.pipeline.trace import FallbackReason, StepTrace

T = TypeVar("T")
Clock = Callable[[], float]  # seconds since any fixed moment
QUANTILE = 0.9
N_RUN_TIMES = 128  # of each part; older ones are forgotten
MIN_RUN_TIMES = 20  # fewer say nothing about the p90
RETRY_AFTER = 64  # fallbacks in a row
MAX_TIMEOUT_MS = 86_400_000  # a day; threading limits the time that a thread can wait
RECALL, REST = "recall", "rest"
RESERVED_STAGES = ("request", RECALL, REST)  # parts of every cascade in traces and run times
CGROUPS = Path("/sys/fs/cgroup")

_log = logging.getLogger("karec.pipeline")


@dataclass(frozen=True)
class TimeoutCounts:
    """How the calls of a source ended: in time + ``late`` + ``busy`` = ``calls``.

    ``running``: late calls that have not returned yet. ``failed``: late calls that raised in the end.
    """

    calls: int = 0
    late: int = 0
    busy: int = 0
    running: int = 0
    failed: int = 0


class TimedCalls:
    """Calls of the source or store ``name``, each with a timeout. Any thread may call any method.

    A call runs on a thread of a pool. A late call is abandoned, not killed: it runs to its end, its result is
    dropped and counted. While it runs, the source is busy and new calls fail at once, so that a source that
    hangs occupies as many threads as requests ran at that moment and no more. A child of ``os.fork`` has no
    running calls, and counts from 0.
    """

    def __init__(self, name: str, timeout_ms: float) -> None:
        if not 0 < timeout_ms <= MAX_TIMEOUT_MS:
            raise ValueError(
                f"{name}: timeout_ms is {timeout_ms!r}, expected more than 0 and at most {MAX_TIMEOUT_MS:,}, "
                "a day"
            )
        self.name = name
        self.timeout_ms = timeout_ms
        self.reset()
        _all_timed_calls.add(self)

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.n: Counter[str] = Counter()

    def start(self, function: Callable[[], T]) -> TimedCall[T]:
        """Runs ``function()`` on a thread of the pool, unless a late call still runs."""
        with self.lock:
            self.n["calls"] += 1
            is_busy = self.n["running"] > 0
            self.n["busy"] += is_busy
        call = TimedCall(self, function, is_busy)
        if not is_busy:
            _free_thread().put(call)
        return call

    def counts(self) -> TimeoutCounts:
        with self.lock:
            return TimeoutCounts(**self.n)


class TimedCall(Generic[T]):
    """One call of ``TimedCalls``."""

    def __init__(self, calls: TimedCalls, function: Callable[[], T], is_busy: bool) -> None:
        self._calls = calls
        self._function: Callable[[], T] | None = function
        self._is_busy = is_busy
        self._is_late = False
        self._deadline = time.perf_counter() + calls.timeout_ms / 1e3
        self._ended = threading.Event()
        self._value: T
        self._error: BaseException | None = None

    def run(self) -> None:
        """Calls the function. Raises nothing."""
        assert self._function is not None
        try:
            self._value = self._function()
        except BaseException as error:  # ``result`` raises it, a SystemExit too
            self._error = error
        self._function = None  # releases the request that it refers to
        calls = self._calls
        with calls.lock:
            self._ended.set()
            has_failed = self._is_late and self._error is not None
            calls.n["failed"] += has_failed
            is_first = has_failed and calls.n["failed"] == 1
        if is_first:
            _log.warning(
                "%s failed after its deadline; later failures are only counted: %s",
                calls.name,
                self._error,
                exc_info=None if isinstance(self._error, (OSError, Unavailable)) else self._error,
            )
        with calls.lock:  # at the very end: until then the call counts as running
            calls.n["running"] -= self._is_late

    def result(self) -> T:
        """Waits for the value. Raises what the function raises, and Unavailable if it is late or busy."""
        name, ms = self._calls.name, self._calls.timeout_ms
        if self._is_busy:
            raise Unavailable(f"{name} is busy: an earlier call is past its {ms:g} ms and still runs")
        if not self._ended.wait(max(self._deadline - time.perf_counter(), 0.0)) and self.abandon():
            raise Unavailable(f"{name} did not answer within {ms:g} ms")
        if self._error is not None:
            raise self._error
        return self._value

    def abandon(self) -> bool:
        """Stops waiting. Returns True if the call was still running and now counts as late."""
        with self._calls.lock:
            if self._is_busy or self._is_late or self._ended.is_set():
                return False
            self._is_late = True
            self._calls.n.update(late=1, running=1)
            return True


Inbox = SimpleQueue[TimedCall[Any]]


def _free_thread() -> Inbox:
    """Returns the inbox of a waiting thread, or of a new one."""
    try:
        return _free_threads.pop()
    except IndexError:
        inbox: Inbox = SimpleQueue()
        threading.Thread(target=_run_calls, args=(inbox,), name="karec-recall", daemon=True).start()
        return inbox


def _run_calls(inbox: Inbox) -> None:
    while True:
        call = inbox.get()
        call.run()
        del call  # a waiting thread must not hold data of a request
        _free_threads.append(inbox)


class RunTimes:
    """The newest run times of the parts of a cascade, in ms. Any thread may call any method.

    A part is ``RECALL`` (all steps before the stages), a stage, its fallback, or ``REST``. There is no lock:
    ``deque.append`` and ``sorted`` of a deque of floats are atomic under the GIL.
    """

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._n_fallbacks: Counter[str] = Counter()  # {stage: fallbacks in a row}

    def add_request(self, steps: Sequence[StepTrace], total_ms: float, stages: Sequence[str]) -> None:
        """Adds the times of the parts of one request. ``stages``: names of the stages."""
        times = part_times(steps, stages)
        for part, ms in times.items():
            self.add(part, ms)
        self.add(REST, max(total_ms - sum(times.values()), 0.0))
        for stage in stages:
            if fallback_part(stage) in times:
                self._n_fallbacks[stage] += 1
            elif self._n_fallbacks.pop(stage, 0) >= RETRY_AFTER:
                self._times[stage] = deque([times[stage]] * MIN_RUN_TIMES, N_RUN_TIMES)

    def add(self, part: str, ms: float) -> None:
        times = self._times.get(part)
        if times is None:
            times = self._times.setdefault(part, deque(maxlen=N_RUN_TIMES))
        times.append(ms)

    def p90_ms(self, part: str) -> float:
        """Returns the p90 of the newest run times; 0 until ``MIN_RUN_TIMES`` are known."""
        times = sorted(self._times.get(part, ()))
        return times[math.ceil(QUANTILE * len(times)) - 1] if len(times) >= MIN_RUN_TIMES else 0.0

    def to_dict(self) -> dict[str, float]:
        """Returns {part: p90 in ms} of the parts whose p90 is known."""
        return {part: p90 for part in list(self._times) if (p90 := self.p90_ms(part))}

    def fallback_reason(self, stage: str, later: Sequence[str], left_ms: float) -> FallbackReason | None:
        """Returns why the fallback of ``stage`` has to run; None if the stage runs.

        The fallback runs if ``left_ms`` is below the summed p90 of the stage and the ``later`` stages. After
        64 fallbacks in a row the stage runs once, and this time replaces the older ones: a slow minute does
        not disable a stage for good.
        """
        own_ms = self.p90_ms(stage)
        p90_ms = own_ms + sum(map(self.p90_ms, later))
        if not own_ms or left_ms >= p90_ms or self._n_fallbacks[stage] >= RETRY_AFTER:
            return None
        return FallbackReason(stage, left_ms, p90_ms)

    def copy_from(self, other: RunTimes) -> None:
        """Takes over the times of ``other``, for a newer version of the same scene."""
        self._times = {part: deque(times, N_RUN_TIMES) for part, times in list(other._times.items())}
        self._n_fallbacks = Counter(other._n_fallbacks)


def fallback_part(stage: str) -> str:
    return f"{stage} fallback"


def part_times(steps: Sequence[StepTrace], stages: Sequence[str]) -> Mapping[str, float]:
    """Returns {part: ms} of the parts of a cascade with ``stages`` that ran in ``steps``."""
    times: dict[str, float] = {}
    for step in steps:
        part = step.stage if step.stage in stages else RECALL
        if step.fallback is not None:
            part = fallback_part(step.stage)
        times[part] = times.get(part, 0.0) + step.ms
    return times


def check_fallback(stage: str, steps: Sequence[Any], fallback: Sequence[Any]) -> None:
    """Raises ContractError if ``fallback`` lacks a filter or a rule of the ``steps`` of ``stage``."""
    if not fallback:
        raise ContractError(f"stage {stage!r}: its fallback has no steps. Name the selector that ends it.")
    for step in steps:
        if step.is_rule and not any(step is other for other in fallback):
            raise ContractError(
                f"stage {stage!r}: its fallback lacks {step.name!r}, which keeps a rule of the page. Add the "
                "step to the fallback as it is written in the stage."
            )


class RequestSlots:
    """At most ``n`` requests run at once, first come, first served. Any thread may call any method.

    A running request holds tens of megabytes. A waiting one holds neither an index generation nor arrays. A
    request that runs inside another one, on its thread, shares its slot, whichever ``RequestSlots`` it has.
    In a child of ``os.fork`` all slots are free except that of the forking thread.
    """

    def __init__(self, n: int) -> None:
        if n != int(n) or n <= 0:
            raise ValueError(f"threads is {n!r}, expected a whole number, at least 1")
        self.n = n
        self.reset(n)
        _all_slots.add(self)

    def reset(self, n_free: int) -> None:
        self._lock = threading.Lock()
        self._n_free = n_free  # 0 while a thread waits
        self._waiting: deque[threading.Lock] = deque()

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds a slot while the block runs. Waits until one is free."""
        if getattr(_thread, "slots", None) is not None:
            yield
            return
        self._acquire()
        try:
            _thread.slots = self
            yield
        finally:
            _thread.slots = None
            self._release()

    def _acquire(self) -> None:
        turn = threading.Lock()
        with self._lock:
            if self._n_free:
                self._n_free -= 1
                return
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire()  # until ``_release`` of another thread
        except BaseException:  # raised by a signal handler in the main thread
            with self._lock:
                has_slot = turn not in self._waiting
                if not has_slot:
                    self._waiting.remove(turn)
            if has_slot:
                self._release()
            raise

    def _release(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._n_free += 1


def request_slots(n: int | None) -> RequestSlots:
    """Returns the ``RequestSlots`` of size ``n`` of this process; None: the number of usable cores."""
    if n is None:
        n = usable_cores()
    return _slots_by_size.get(n) or _slots_by_size.setdefault(n, RequestSlots(n))


def usable_cores() -> int:
    """Returns the number of cores that this process may use, by affinity and by the quota of its cgroups."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("0::")[2]
        folder = CGROUPS / group.strip("/")
        quotas = [
            (parent / "cpu.max")
            for parent in (folder, *folder.parents)
            if CGROUPS in (parent, *parent.parents)
        ]
        limits = [path.read_text().split() for path in quotas if path.exists()]  # "max 100000"
    except OSError:
        return n
    cores = [math.ceil(int(quota) / int(period)) for quota, period in limits if quota != "max"]
    return max(min([n, *cores]), 1)


def _reset_in_child() -> None:
    _free_threads.clear()
    for calls in _all_timed_calls:
        calls.reset()
    for slots in _all_slots:
        slots.reset(slots.n - (getattr(_thread, "slots", None) is slots))


_free_threads: list[Inbox] = []  # of threads that wait for a call; append and pop are atomic
_all_timed_calls: weakref.WeakSet[TimedCalls] = weakref.WeakSet()
_thread = threading.local()  # slots: the RequestSlots whose slot this thread holds, or None
_all_slots: weakref.WeakSet[RequestSlots] = weakref.WeakSet()
_slots_by_size: dict[int, RequestSlots] = {}
os.register_at_fork(after_in_child=_reset_in_child)
