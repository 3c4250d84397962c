"""Writers of a process that forks: none is caught while it writes, and a child begins with nothing held
back."""

from __future__ import annotations

import os
from itertools import count
from threading import Lock
from typing import Any, Protocol
from weakref import WeakKeyDictionary


class Writer(Protocol):
    _writer: Lock
    _held: list[Any]


# who hands over locks itself, then its heir, made later
_all: WeakKeyDictionary[Writer, int] = WeakKeyDictionary()
_number = count()
_stopped: list[Writer] = []


def safe_in_forks(writer: Writer) -> None:
    """``os.fork()`` waits until ``writer`` is not writing; in the child it holds nothing back, the parent
    counts it."""
    _all[writer] = next(_number)


def _before_fork() -> None:
    _stopped[:] = [writer for writer, _ in sorted(_all.items(), key=lambda each: each[1])]
    for writer in _stopped:
        writer._writer.acquire()


def _after_fork(in_child: bool) -> None:
    for writer in _stopped:
        if in_child:
            writer._held = []
        writer._writer.release()
    _stopped.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=lambda: _after_fork(False), after_in_child=lambda: _after_fork(True)
)
