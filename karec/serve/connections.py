"""HTTP connections: uvicorn's, with a time and a size that a head may take, and an end that answers what has
come."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from karec.serve import wire
from karec.serve.dealing import Dealer
from karec.serve.outlet import Outlet
from karec.serve.problems import ProblemError
from karec.serve.straight import STRAIGHT, Call, Straight

HEAD_SECONDS = 10.0  # from the connection, or the first byte of a request, to the end of its head
BODY_SECONDS = 5.0  # from there to the end of its body, and from its answer, where the answer is first
MOST_HEAD = 1 << 16  # bytes
URL = STRAIGHT.encode()  # as most clients write it; others encode it, or add a host or a query


class Connection(HttpToolsProtocol):
    """One client's connection. A head that is late ends it; a body that is late is answered with 408.
    ``given``: another worker has accepted it. ``server_state.straight``: who answers POST /v1/recommend;
    other calls are ASGI's.
    """

    _late: asyncio.TimerHandle | None = None
    _timed: int | None = 0  # what has to come in time: twice the message's number, and 1 more of its body
    _heading = _in_body = False
    _messages = _head_bytes = 0
    _held: Call | None = None  # the one that begins when the client has read what is written for it
    _outlet: Outlet | None = None

    def __init__(self, *arguments: Any, given: bool = False, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._unanswered: list[RequestResponseCycle] = []  # one that runs, and those behind it
        self._dealer: Dealer | None = getattr(self.server_state, "dealer", None)
        self._straight: Straight | None = getattr(self.server_state, "straight", None)
        self._given, self._elsewhere = given, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self._dealer is not None and not self._given and self._dealer.gives(transport):
            self._elsewhere = True
            transport.abort()  # this process's file of it; the other's stays open
            return
        super().connection_made(transport)
        if self._dealer is not None:
            self._dealer.has(len(self.connections))
        self._end_in(HEAD_SECONDS)
        self._outlet = Outlet(transport.get_extra_info("socket").fileno())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._elsewhere:
            return
        self._in_time()
        self.nobody_reads()
        super().connection_lost(exc)
        if self._dealer is not None:
            self._dealer.has(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self._heading:
            end = data.find(b"\r\n\r\n")  # what follows is a body, or other requests
            self._head_bytes += len(data) if end < 0 else end
            if self._head_bytes > MOST_HEAD:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is longer than {MOST_HEAD} bytes"
                )
                return
        super().data_received(data)
        self._time()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heading, self._in_body, self._head_bytes = True, False, 0
        self._messages += 1

    def on_headers_complete(self) -> None:
        self._heading, self._in_body = False, True
        straight = self._straight if self.parser.get_method() == b"POST" else None
        if straight is not None and (
            self.url == URL or unquote(urlsplit(self.url.decode("latin-1")).path) == STRAIGHT
        ):
            self._comes(straight)
        else:
            super().on_headers_complete()
        self._unanswered = [each for each in self._unanswered if not each.response_complete] + [self.cycle]

    def on_body(self, body: bytes) -> None:
        call = self.cycle
        if not isinstance(call, Call):
            super().on_body(body)
        elif not call.response_complete:
            call.body += body
            if call.headed:
                self._look_at_body(call)
            elif len(call.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._in_body, call = False, self.cycle
        if not isinstance(call, Call):
            super().on_message_complete()
            return
        call.more_body = False
        if call.runs:
            self._came(call)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            self._end_in(BODY_SECONDS)  # no longer for the rest of a body that nobody reads

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._held is not None:
            self._begin(self._held)

    def _comes(self, straight: Straight) -> None:
        """As uvicorn does with calls of ASGI: it begins, or stands behind the one that runs."""
        scope = self.scope
        before: RequestResponseCycle | None = self.cycle
        scope["method"], scope["path"] = "POST", STRAIGHT
        keeps = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        asks = self.expect_100_continue
        self.cycle = call = Call(scope, self.transport, keeps, asks, self.on_response_complete, straight)
        if before is None or before.response_complete:
            self._begin(call)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((call, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # that stood behind another: of many in one packet none begins inside of the last
        if isinstance(cycle, Call):
            self.loop.call_soon(self._begin, cycle)
            return
        if getattr(self.server_state, "ending", False):
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _begin(self, call: Call) -> None:
        """Not before the client has read what was written for it: it would wait in memory."""
        self._held = call if self.flow.write_paused else None
        if self._held is not None or call.disconnected or self.transport.is_closing():
            return
        if getattr(self.server_state, "ending", False):
            call.keep_alive = False
        call.headed = True
        call.straight.headed(call)
        if not call.runs:
            return
        if call.waiting_for_100_continue:
            call.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if call.body:
            self._look_at_body(call)
        if not call.more_body and call.runs:
            self._came(call)

    def _look_at_body(self, call: Call) -> None:
        if len(call.body) > call.most:
            call.fails(ProblemError(413, f"the body is longer than {call.most} bytes", close=True))
        else:
            self.flow.resume_reading()

    def _came(self, call: Call) -> None:
        if not self.transport.get_write_buffer_size():
            call.outlet = self._outlet
        call.straight.came(call)

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        body = wire.encoded(wire.Problem(status.phrase, status, why))
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        self.nobody_reads()
        if self._outlet is None or not self._outlet.torn:
            self.transport.write(
                f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
            )
        self.transport.close()

    def nobody_reads(self) -> None:
        """Answers that are not written yet go nowhere: uvicorn says so to the last request alone."""
        if self._outlet is not None:
            self._outlet.close()
        for cycle in self._unanswered:
            cycle.disconnected = not cycle.response_complete

    def _time(self) -> None:
        """A head or body that has not come whole with what was read has so long from now on."""
        if not self._messages:  # who connects has the time of a head
            return
        waits = 2 * self._messages + self._in_body if self._heading or self._in_body else None
        if waits is None or waits != self._timed:  # none waits: whatever was begun for a body is over
            self._timed = waits
            self._in_time()
            if waits is not None and not self.transport.is_closing():
                self._end_in(HEAD_SECONDS if self._heading else BODY_SECONDS)

    def _end_in(self, seconds: float) -> None:
        self._in_time()
        self._late = self.loop.call_later(seconds, self._end)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_body and not self.cycle.response_started:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {BODY_SECONDS:g} seconds")
        else:
            self.nobody_reads()
            self.transport.close()
