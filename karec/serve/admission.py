"""Who is let in: what would wait too long for a thread is refused at once, before its body is read.

``Lane``'s methods are for the event loop's thread, but for ``leaves``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from karec.serve.board import TOO_LONG, TOO_MANY
from karec.serve.problems import ProblemError
from karec.serve.turns import Turn, Turns

T = TypeVar("T")
_log = logging.getLogger("karec.serve")
Ends = Callable[[Any, BaseException | None], None]
Called = tuple[Turn, Ends, Callable[..., Any], tuple[Any, ...]]


class Lane:
    """Calls that share ``threads``, first come, first served. At most ``most`` run and wait, none longer than
    ``wait_ms`` by estimate. ``refused`` is told why. ``told``: the row of ``karec.serve.board.LANE`` where it
    counts.
    """

    def __init__(
        self, name: str, threads: int, wait_ms: float, most: int, refused: Callable[[str], None], told: Any
    ) -> None:
        self.wait_ms, self.most, self._refused, self._told = wait_ms, most, refused, told
        self.turns = Turns(threads)
        self.inside = 0
        self._counting = Lock()
        told["threads"] = threads
        self._calls: SimpleQueue[Called | None] = SimpleQueue()
        self._threads = [Thread(target=self._run, name=f"{name}-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def threads(self) -> int:
        return self.turns.threads

    def check(self, n: int = 1, spare_ms: float = math.inf, unread: bool = False) -> None:
        """ProblemError 503, with Retry-After, where ``n`` more would be too many or wait too long.
        ``spare_ms``: what their deadlines leave for it; inf: they have none. ``unread``: whether they have
        one is not known yet, and they are checked again once it is.
        """
        ms = self.turns.waiting_ms(time.perf_counter(), unread or spare_ms < math.inf)
        limit = min(self.wait_ms, max(spare_ms, 0.0))
        if self.inside and self.inside + n > self.most:
            why = TOO_MANY, f"{self.inside} requests run and wait, at most {self.most} do"
        elif ms > limit:
            why = TOO_LONG, f"it would wait about {ms:.0f} ms for a thread, at most {limit:.0f} ms are"
        else:
            return
        self._told[why[0]] += 1
        self._refused(why[0])
        raise ProblemError(503, why[1], retry_after=max(math.ceil(ms / 1e3), 1))

    def enters(self, n: int = 1) -> None:
        """``n`` requests are inside until they leave."""
        with self._counting:
            self.inside += n
            self._told["inside"] = self.inside

    def leaves(self, n: int = 1) -> None:
        """Any thread may say so."""
        self.enters(-n)

    @contextmanager
    def entered(self, n: int = 1) -> Iterator[None]:
        """``n`` requests are inside while the block runs."""
        self.enters(n)
        try:
            yield
        finally:
            self.leaves(n)

    def hand(self, turn: Turn, ends: Ends, work: Callable[..., Any], *arguments: Any) -> None:
        """``work(*arguments)`` on one of the threads, and there ``ends(what it gives, what it raises)``, one
        of them None."""
        self.turns.comes(turn)
        self._calls.put((turn, ends, work, arguments))

    def call(self, work: Callable[..., T], *arguments: Any, turn: Turn | None = None) -> asyncio.Future[T]:
        """What ``work(*arguments)`` gives, or raises, on one of the threads."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def ends(value: Any, error: BaseException | None) -> None:
            # one wake-up of the loop: ``run_in_executor`` has two kinds of futures, and costs three times as
            # much
            loop.call_soon_threadsafe(_settle, answer, value, error)

        self.hand(Turn() if turn is None else turn, ends, work, *arguments)
        return answer

    def close(self) -> None:
        """Waits until all that was handed over is done. Again it does nothing. Not on the event loop's
        thread."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            turn, ends, work, arguments = item
            value = error = None
            begun = time.perf_counter()
            self.turns.begins(turn, begun)
            try:
                value = work(*arguments)
            except BaseException as raised:  # it is the caller's
                error = raised
            self.turns.is_over(turn, (time.perf_counter() - begun) * 1e3, failed=error is not None)
            with self._counting:
                self._told["answered"] += error is None
                self._told["usual_ms"] = self.turns.usual_ms
            try:
                ends(value, error)
            except Exception:  # the next call is not to wait for a thread that is gone
                _log.exception("the end of a request failed; its client has no answer")
            del item, turn, ends, work, arguments, value, error  # a thread that waits keeps nothing


def _settle(answer: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if answer.done():  # nobody waits any more
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
