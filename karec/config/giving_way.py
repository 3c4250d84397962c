"""Work beside requests in one process, whose threads share Python's lock."""

from __future__ import annotations

import sys
from threading import Lock

TURN_S = 0.0005

_lock = Lock()
_within: list[float] = []  # of each block that runs, the interval that it found


class GivingWay:
    """Within the block a thread that computes in Python gives way to others after ``TURN_S``, not after the 5 ms that
    Python leaves it: a request, which lets the lock go for each kernel, waits for it some hundred times. It holds for
    all threads of the process; when the last such block ends, ``sys.setswitchinterval`` is what the first one found.
    """

    def __enter__(self) -> None:
        with _lock:
            _within.append(sys.getswitchinterval())
            if _within[-1] > TURN_S:
                sys.setswitchinterval(TURN_S)

    def __exit__(self, *_: object) -> None:
        with _lock:
            before = _within[0]
            _within.pop()
            if not _within:
                sys.setswitchinterval(before + 5e-7)  # Python cuts it to whole microseconds
