"""One POST /v1/recommend, from its head to its answer, without ASGI.

A task, a scope's copies, and messages back and forth cost more processor time than all else that HTTP adds to a feed
(``bench/serve_table.py``): here the connection calls by function, and an answer is one write.
"""

from __future__ import annotations

import time
from typing import Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from karec.serve.problems import ProblemError, fault
from karec.serve.service import Served

STRAIGHT = "/v1/recommend"
_JSON = STATUS_LINE[200] + b"content-type: application/json\r\ncontent-length: %d\r\n"


class Call:
    """On the event loop's thread, but for ``gone``. ``served``: what it reads from its first line to its last."""

    __slots__ = ("begun", "cycle", "headed", "most", "served", "straight")

    def __init__(self, cycle: RequestResponseCycle, straight: Straight) -> None:
        self.cycle, self.straight = cycle, straight
        self.begun = time.perf_counter()
        self.headed = False
        self.most = 0  # bytes of a body
        self.served: Served | None = None

    @property
    def scope(self) -> Scope:
        return cast(Scope, self.cycle.scope)

    @property
    def gone(self) -> bool:
        """Its client has left: nobody reads an answer."""
        return self.cycle.disconnected

    @property
    def open(self) -> bool:
        """It runs, and may still be answered."""
        return self.headed and not self.cycle.response_complete and not self.cycle.disconnected

    def answers(self, json: bytes) -> None:
        self._write(200, _JSON % len(json), json)

    def fails(self, error: BaseException) -> None:
        """The problem, or a fault that the log tells and the answer does not."""
        problem = error if isinstance(error, ProblemError) else fault(error)
        if problem.close:
            self.cycle.keep_alive = False
        told = problem.response()
        lines = [name + b": " + value + b"\r\n" for name, value in told.raw_headers if name != b"connection"]
        self._write(told.status_code, STATUS_LINE[told.status_code] + b"".join(lines), bytes(told.body))

    def _write(self, status: int, head: bytes, body: bytes) -> None:
        cycle = self.cycle
        if cycle.disconnected or cycle.response_complete:
            return
        self.straight.replied(STRAIGHT, status)
        cycle.response_started = cycle.response_complete = True
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        cycle.transport.write(head + end + body)
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


class Straight(Protocol):
    """What answers such calls. Neither raises: what is wrong is the call's answer."""

    def headed(self, call: Call) -> None:
        """Its head is there: it is refused, or its body is waited for."""

    def came(self, call: Call) -> None:
        """Its body is there."""

    def replied(self, route: str, status: int) -> None:
        """It is answered."""
