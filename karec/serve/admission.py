"""Who is let in: what would wait too long for a thread is refused at once, before its body is read.

Little's law in small: with U requests running and waiting on T threads, one that comes now waits about
(U − T + 1)/T · the time that a request took of late. Nothing is remembered but that time: when fewer than T run, the
next one is let in, whatever happened before. All calls but ``turns`` are made on the event loop's thread.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from karec.serve.problems import ProblemError

OF_NEW = 0.1  # the weight of the newest time in the mean


class Lane:
    """Requests that share ``threads``. At most ``most`` run and wait, none longer than ``wait_ms`` by estimate.
    ``refused`` is told why.
    """

    def __init__(self, threads: int, wait_ms: float, most: int, refused: Callable[[str], None]) -> None:
        self.threads, self.wait_ms, self.most, self._refused = threads, wait_ms, most, refused
        self.inside = 0
        self.usual_ms = 0.0
        self.counts: Counter[str] = Counter()

    def waiting_ms(self) -> float:
        """How long one that comes now would wait for a thread, by estimate."""
        return max(self.inside - self.threads + 1, 0) / self.threads * self.usual_ms

    def turns(self) -> float:
        """How many requests a thread has before it, the one that runs included; any thread may ask."""
        return max(self.inside / self.threads, 1.0)

    def check(self, n: int = 1, spare_ms: float = math.inf) -> None:
        """ProblemError 503, with Retry-After, where ``n`` more would be too many or wait too long. ``spare_ms``: what
        their deadlines leave for it.
        """
        ms, limit = self.waiting_ms(), min(self.wait_ms, max(spare_ms, 0.0))
        if self.inside and self.inside + n > self.most:
            why = "too many at once", f"{self.inside} requests run and wait, at most {self.most} do"
        elif ms > limit:
            why = "would wait too long", f"it would wait about {ms:.0f} ms for a thread, at most {limit:.0f} ms are"
        else:
            return
        self.counts[why[0]] += 1
        self._refused(why[0])
        raise ProblemError(503, why[1], retry_after=max(math.ceil(ms / 1e3), 1))

    @contextmanager
    def entered(self, n: int = 1) -> Iterator[None]:
        """``n`` requests are inside while the block runs."""
        self.inside += n
        try:
            yield
        finally:
            self.inside -= n

    def took(self, ms: float) -> None:
        """A request ran for ``ms``."""
        self.counts["answered"] += 1
        self.usual_ms = ms if not self.usual_ms else self.usual_ms + OF_NEW * (ms - self.usual_ms)

    def status(self) -> dict[str, float | dict[str, int]]:
        return {
            "inside": self.inside,
            "threads": self.threads,
            "usual_ms": round(self.usual_ms, 3),
            "counts": dict(self.counts),
        }


class Admission:
    """ASGI: a POST to a path of ``lanes`` is checked before anything of its body is read."""

    def __init__(self, app: ASGIApp, lanes: Callable[[], Mapping[str, Lane]]) -> None:
        self._app, self._lanes = app, lanes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            lane = self._lanes().get(scope["path"])
            if lane is not None:
                try:
                    lane.check()
                except ProblemError as problem:
                    await problem(scope, receive, send)
                    return
        await self._app(scope, receive, send)
