"""Calls a function for many arguments on a few threads; results are in the order of the arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from karec.pipeline.deadline import usable_cores

A = TypeVar("A")
R = TypeVar("R")

# only NumPy and ONNX Runtime run in parallel; Python code holds the GIL
MAX_THREADS = 4
AHEAD = 2  # calls per thread that start before a result is taken; bounds the results in memory


def map_in_order(function: Callable[[A], R], arguments: Iterable[A], threads: int = 0) -> Iterator[R]:
    """Yields ``function(a)`` for each of ``arguments``, like ``map``; errors keep their place.

    ``threads`` 0: the number of cores, at most MAX_THREADS. The caller's thread iterates over the arguments.
    Results do not depend on the number of threads unless calls write what others read. A caller that stops
    early waits for running calls.
    """
    threads = threads or min(usable_cores(), MAX_THREADS)
    with ThreadPoolExecutor(threads, thread_name_prefix="karec-in-order") as pool:
        running: deque[Future[R]] = deque()
        try:
            for argument in arguments:
                running.append(pool.submit(function, argument))
                if len(running) > AHEAD * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
