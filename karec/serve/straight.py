"""One POST /v1/recommend, from its head to its answer, without ASGI.

A task, and messages back and forth, cost more processor time than all else that HTTP adds to a feed
(``bench/service/overhead.py``): here the connection calls by function, and an answer is one write, of the
thread that made it; the event loop is told afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, cast

from starlette.types import Scope
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from karec.serve.outlet import Outlet
from karec.serve.problems import ProblemError, fault
from karec.serve.service import Served

STRAIGHT = "/v1/recommend"
_JSON = STATUS_LINE[200] + b"content-type: application/json\r\ncontent-length: %d\r\n"


class Call(RequestResponseCycle):
    """What uvicorn's connection asks of a request that runs, and no more: no task waits for an event of it.

    On the event loop's thread, but for ``gone`` and ``writes``. ``headed``: it has begun; ``most``: bytes of
    its body; ``served``: what it reads from its first line to its last. ``outlet``: where its answer may be
    written past the loop; None: the loop has something to write before it.
    """

    message_event = asyncio.Event()
    disconnected = response_started = response_complete = headed = False
    more_body = True
    most = 0
    served: Served | None = None
    outlet: Outlet | None = None

    def __init__(
        self,
        scope: HTTPScope,
        transport: asyncio.Transport,
        keep_alive: bool,
        expect_100_continue: bool,
        on_response: Callable[..., None],
        straight: Straight,
    ) -> None:
        self.scope, self.transport, self.on_response, self.straight = scope, transport, on_response, straight
        self.keep_alive, self.waiting_for_100_continue = keep_alive, expect_100_continue
        self.body = bytearray()
        self.begun = time.perf_counter()

    @property
    def asked(self) -> Scope:
        return cast(Scope, self.scope)

    @property
    def gone(self) -> bool:
        """Its client has left: nobody reads an answer."""
        return self.disconnected

    @property
    def runs(self) -> bool:
        """It has begun, and may still be answered."""
        return self.headed and not self.response_complete and not self.disconnected

    def writes(self, json: bytes) -> bytes:
        """Writes the answer as far as that goes at once; what is left, for ``answered``. By one thread."""
        self.straight.response(STRAIGHT, 200, time.perf_counter() - self.begun)
        answer = b"%s%s%s" % (_JSON % len(json), self._end(), json)
        return answer if self.outlet is None else self.outlet.write(answer)

    def answered(self, left: bytes) -> None:
        """All of its answer but ``left`` is written."""
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        if left:
            self.transport.write(left)
            if self.outlet is not None:
                self.outlet.torn = False
        if not self.keep_alive:
            self.transport.close()
        # else it and its connection would hold each other
        ended, self.on_response = self.on_response, _nothing
        ended()

    def fails(self, error: BaseException) -> None:
        """The problem, or a fault that the log tells and the answer does not."""
        problem = error if isinstance(error, ProblemError) else fault(error)
        if problem.close:
            self.keep_alive = False
        told = problem.response()
        lines = [name + b": " + value + b"\r\n" for name, value in told.raw_headers if name != b"connection"]
        if not self.disconnected and not self.response_complete:
            self.straight.response(STRAIGHT, told.status_code, time.perf_counter() - self.begun)
            self.answered(STATUS_LINE[told.status_code] + b"".join(lines) + self._end() + bytes(told.body))

    def _end(self) -> bytes:
        return b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"


def _nothing() -> None:
    pass


class Straight(Protocol):
    """What answers such calls. Neither raises: what is wrong is the call's answer."""

    def headed(self, call: Call) -> None:
        """Its head is there: it is refused, or its body is waited for."""

    def came(self, call: Call) -> None:
        """Its body is there."""

    def response(self, route: str, status: int, seconds: float) -> None:
        """It is answered. Any thread says so."""
