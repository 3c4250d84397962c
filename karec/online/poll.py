"""Thread that calls a function on an object at regular intervals, without keeping the object alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Poller(Generic[T]):
    """Calls ``poll(owner)`` every ``interval_s`` seconds until ``stop``, or until ``owner`` is collected.

    The thread keeps ``owner`` alive only during a call. An exception of ``poll`` ends the thread.
    ``wait(seconds)`` returns True if the thread must end; by default it waits for ``stop``.
    """

    def __init__(
        self,
        owner: T,
        poll: Callable[[T], None],
        interval_s: float,
        name: str,
        wait: Callable[[float], bool | None] | None = None,
    ) -> None:
        self._owner = weakref.ref(owner)
        self._poll = poll
        self._interval_s = interval_s
        self._stopped = Event()
        self._wait = self._stopped.wait if wait is None else wait
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread. A second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Waits until the thread has ended, a running call included. The thread itself must not call it."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._wait(self._interval_s):
            owner = self._owner()
            if owner is None:
                return
            self._poll(owner)
            del owner  # The next wait must not keep it alive.
