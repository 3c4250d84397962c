"""One connection: one request at a time, HTTP/1.1 kept alive."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools


class Owner(Protocol):
    """Who is told what becomes of a connection and of the request on it."""

    def opened(self, connection: Connection) -> None: ...

    def answered(self, connection: Connection, status: int, body: bytes) -> None: ...

    def lost(self, connection: Connection) -> None:
        """Also of a connection that answers what is no HTTP."""


class Connection(asyncio.Protocol):
    """``number``: of the request that runs; −1: none does."""

    def __init__(self, owner: Owner) -> None:
        self.number = -1
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def send(self, number: int, request: bytes) -> None:
        assert self._transport is not None
        self.number, self._body = number, []
        self._transport.write(request)

    def close(self) -> None:
        """At once; what runs is lost."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but by no common base
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost(self)

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            return
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._owner.answered(self, status, b"".join(self._body))
