"""How many requests of a process run at once.

A request holds tens of megabytes while it runs, and one thread. More requests than cores are no faster
together: they only hold more. So the others wait before they begin, and hold nothing: no generation of the
index, no arrays.

Order     First come, first served: a slot that is given back goes to the thread that has waited longest.
Nesting   A request that a step runs on the thread of its own request needs no other slot, of whichever
          ``Slots`` they are. A step must not wait for a request on another thread: if all slots wait so,
          nothing goes on.
Stuck     A step that never returns keeps its slot, and a step that waits for a network keeps it meanwhile.
Fork      A child of ``os.fork`` has all slots free, but for the one that the forking thread has.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from karec.catalog.once import Once


class Slots:
    """``n`` slots. Any thread may call any method."""

    def __init__(self, n: int) -> None:
        if n <= 0:
            raise ValueError(f"threads = {n}, expected at least 1")
        self.n = n
        self._begin(n)
        _all.add(self)

    def _begin(self, free: int) -> None:
        self._lock = threading.Lock()
        self._free = free  # 0 while anybody waits
        self._waiting: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait for a slot."""
        return len(self._waiting)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Has a slot while the block runs, waiting for it as long as it takes."""
        if getattr(_thread, "slots", None) is not None:
            yield
            return
        self._take()
        try:
            _thread.slots = self
            yield
        finally:
            _thread.slots = None
            self._give()

    def _take(self) -> None:
        turn = threading.Lock()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire()  # until ``_give`` releases it
        except BaseException:  # a signal's, in the main thread
            with self._lock:
                given = turn not in self._waiting
                if not given:
                    self._waiting.remove(turn)
            if given:
                self._give()
            raise

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


def shared_slots(n: int | None) -> Slots:
    """The process's ``Slots`` of size ``n``; None: as many as the cores that the process may use."""
    n = _usable_cores() if n is None else n
    return _shared.get(n, lambda: Slots(n))


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_thread = threading.local()  # slots: the Slots of which this thread has one, or None
_all: weakref.WeakSet[Slots] = weakref.WeakSet()
_shared = Once()


def _begin_in_child() -> None:
    for slots in _all:
        slots._begin(slots.n - (getattr(_thread, "slots", None) is slots))


os.register_at_fork(after_in_child=_begin_in_child)
