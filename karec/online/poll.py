"""A thread that looks again and again for somebody whom it does not keep alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Looking(Generic[T]):
    """From ``begin`` on, ``look(owner)`` is called every ``seconds``, until ``stop``, or until ``owner`` is
    gone.

    The thread keeps ``owner`` alive during a look alone. What ``look`` raises ends the thread.
    ``wait(seconds)`` gives True when the thread is to end; None: by the clock, until ``stop``.
    """

    def __init__(
        self,
        owner: T,
        look: Callable[[T], None],
        seconds: float,
        name: str,
        wait: Callable[[float], bool | None] | None = None,
    ) -> None:
        self._owner, self._call, self._seconds = weakref.ref(owner), look, seconds
        self._ended = Event()
        self._wait = self._ended.wait if wait is None else wait
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def begin(self) -> None:
        """Again it does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Wait until the thread has ended; a look that has begun ends first. Never from the thread itself."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._wait(self._seconds):
            owner = self._owner()
            if owner is None:
                return
            self._call(owner)
            del owner  # it is not kept while the thread waits
