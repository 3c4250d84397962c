"""Work beside requests in one process, whose threads share Python's lock and few cores: requests go first."""

from __future__ import annotations

import sys
import threading
import time

TURN_S = 0.0005
MOST_S = 1.0


class Running:
    """The requests that run now: ``with running:`` around each. A request takes no lock, unless somebody
    waits for its end. Any thread.
    """

    def __init__(self) -> None:
        self._requests: list[None] = []  # append and pop are atomic
        self._waiting: list[threading.Event] = []

    def __enter__(self) -> None:
        self._requests.append(None)

    def __exit__(self, *_: object) -> None:
        self._requests.pop()
        if self._waiting and not self._requests:
            for each in list(self._waiting):
                each.set()

    def wait(self, seconds: float) -> None:
        """Returns when no request runs, or after ``seconds``."""
        if not self._requests:
            return
        ended = threading.Event()
        self._waiting.append(ended)
        try:
            if self._requests:  # one that ended before this was in the list did not see it
                ended.wait(seconds)
        finally:
            self._waiting.remove(ended)


class GivingWay:
    """Within the block this thread's work gives way to the requests of ``running``.

    Where it calls ``give_way``, it waits until no request runs, ``most_s`` seconds in the whole block at
    most: where requests never cease, it goes on beside them. And all threads of the process leave Python's
    lock to others after ``TURN_S``, not after the 5 ms that Python leaves them: a request, which lets the
    lock go for each kernel, waits for it some hundred times. When the last such block ends,
    ``sys.setswitchinterval`` is what the first one found. Blocks of one thread do not nest.
    """

    def __init__(self, running: Running, most_s: float = MOST_S) -> None:
        self._running, self._left_s = running, most_s

    def __enter__(self) -> None:
        _here.block = self
        with _lock:
            _within.append(sys.getswitchinterval())
            if _within[-1] > TURN_S:
                sys.setswitchinterval(TURN_S)

    def __exit__(self, *_: object) -> None:
        del _here.block
        with _lock:
            before = _within[0]
            _within.pop()
            if not _within:
                sys.setswitchinterval(before + 5e-7)  # Python cuts it to whole microseconds

    def wait(self) -> None:
        if self._left_s > 0:
            begun = time.monotonic()
            self._running.wait(self._left_s)
            self._left_s -= time.monotonic() - begun


def give_way() -> None:
    """Called between pieces of work of some milliseconds: within a ``GivingWay`` of this thread it waits
    while requests run, elsewhere it does nothing.
    """
    block: GivingWay | None = getattr(_here, "block", None)
    if block is not None:
        block.wait()


_lock = threading.Lock()
_within: list[float] = []  # of each block that runs, the interval that it found
_here = threading.local()  # ``block``: the GivingWay that this thread is in
