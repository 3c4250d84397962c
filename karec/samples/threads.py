"""One function over many arguments on a few threads, results in the order of the arguments."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")

# Python runs on one of them at a time; NumPy's and ONNX Runtime's parts run beside each other
MOST_THREADS = 4
AHEAD = 2  # calls a thread that are begun before the first result is taken: results in memory stay few


def cores() -> int:
    """Of the machine, those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[A], R], arguments: Iterable[A], threads: int = 0) -> Iterator[R]:
    """``function(a)`` for each of ``arguments``, as ``map`` gives them; what a call raises is raised at its
    place.

    ``threads`` 0: as many as this process has cores, MOST_THREADS at most. Arguments are drawn by the
    caller's thread, in order. Results do not depend on the number of threads, as long as a call reads nothing
    that another one writes. A caller that stops early waits for the calls that have begun.
    """
    threads = threads or min(cores(), MOST_THREADS)
    with ThreadPoolExecutor(threads, thread_name_prefix="karec-in-order") as pool:
        begun: deque[Future[R]] = deque()
        try:
            for argument in arguments:
                begun.append(pool.submit(function, argument))
                if len(begun) > AHEAD * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for left in begun:
                left.cancel()
