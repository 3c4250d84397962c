"""One POST /v1/recommend, from its head to its answer, without ASGI.

A task, and messages back and forth, cost more processor time than all else that HTTP adds to a feed
(``bench/serve_table.py``): here the connection calls by function, and an answer is one write, of the thread that made
it; the event loop is told afterwards.
"""

from __future__ import annotations

import time
from typing import Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from karec.serve.outlet import Outlet
from karec.serve.problems import ProblemError, fault
from karec.serve.service import Served

STRAIGHT = "/v1/recommend"
_JSON = STATUS_LINE[200] + b"content-type: application/json\r\ncontent-length: %d\r\n"


class Call:
    """On the event loop's thread, but for ``gone`` and ``writes``. ``served``: what it reads from its first line to its
    last. ``outlet``: where its answer may be written past the loop; None: the loop has something to write before it.
    """

    __slots__ = ("begun", "cycle", "headed", "most", "outlet", "scope", "served", "straight")

    def __init__(self, cycle: RequestResponseCycle, straight: Straight) -> None:
        self.cycle, self.straight = cycle, straight
        self.scope = cast(Scope, cycle.scope)
        self.begun = time.perf_counter()
        self.headed = False
        self.most = 0  # bytes of a body
        self.served: Served | None = None
        self.outlet: Outlet | None = None

    @property
    def gone(self) -> bool:
        """Its client has left: nobody reads an answer."""
        return self.cycle.disconnected

    @property
    def open(self) -> bool:
        """It runs, and may still be answered."""
        return self.headed and not self.cycle.response_complete and not self.cycle.disconnected

    def writes(self, json: bytes) -> bytes:
        """Writes the answer as far as that goes at once; what is left, for ``answered``. By one thread."""
        self.straight.replied(STRAIGHT, 200)
        answer = b"%s%s%s" % (_JSON % len(json), self._end(), json)
        return answer if self.outlet is None else self.outlet.write(answer)

    def answered(self, left: bytes) -> None:
        """All of its answer but ``left`` is written."""
        cycle = self.cycle
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        if left:
            cycle.transport.write(left)
        if self.outlet is not None:
            self.outlet.torn = False
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def fails(self, error: BaseException) -> None:
        """The problem, or a fault that the log tells and the answer does not."""
        problem = error if isinstance(error, ProblemError) else fault(error)
        if problem.close:
            self.cycle.keep_alive = False
        told = problem.response()
        lines = [name + b": " + value + b"\r\n" for name, value in told.raw_headers if name != b"connection"]
        if not self.gone and not self.cycle.response_complete:
            self.straight.replied(STRAIGHT, told.status_code)
            self.answered(STATUS_LINE[told.status_code] + b"".join(lines) + self._end() + bytes(told.body))

    def _end(self) -> bytes:
        return b"\r\n" if self.cycle.keep_alive else b"connection: close\r\n\r\n"


class Straight(Protocol):
    """What answers such calls. Neither raises: what is wrong is the call's answer."""

    def headed(self, call: Call) -> None:
        """Its head is there: it is refused, or its body is waited for."""

    def came(self, call: Call) -> None:
        """Its body is there."""

    def replied(self, route: str, status: int) -> None:
        """It is answered. Any thread says so."""
