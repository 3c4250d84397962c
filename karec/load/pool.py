"""Connections that are open before the first request, and opened anew when they break."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from karec.errors import Unavailable
from karec.load.connection import Connection
from karec.load.target import Target

CONNECT_S, AGAIN_S = 5.0, 0.1


class Pool:
    """``free``: told when a connection has become free; ``answered``, ``lost``: what became of the request on
    one; ``down``: told when no connection is left and none can be opened.
    """

    def __init__(
        self,
        target: Target,
        *,
        free: Callable[[], None],
        answered: Callable[[int, int, bytes], None],
        lost: Callable[[int], None],
        down: Callable[[], None],
    ) -> None:
        self._target, self._ssl = target, target.ssl
        self._tell_free, self._tell_answered, self._tell_lost, self._tell_down = free, answered, lost, down
        self._free: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._running: dict[int, Connection] = {}
        self._ending = False
        self.is_down = False

    async def open(self, connections: int) -> None:
        """Unavailable: none could be opened; of those that could not be opened some are tried again later."""
        where = f"{self._target.host}:{self._target.port}"
        try:
            await asyncio.get_running_loop().getaddrinfo(self._target.host, self._target.port)
        except OSError as error:  # asked once: each connection would say so by itself
            raise Unavailable(f"{where}: {error.strerror or error}") from None
        tried = await asyncio.gather(*(self._connect() for _ in range(connections)), return_exceptions=True)
        failed = [error for error in tried if error is not None]
        if len(failed) == connections:
            raise Unavailable(f"{where}: {str(failed[0]) or 'it does not answer'}")
        for _ in failed:
            self._reopen()

    def send(self, number: int, request: bytes) -> bool:
        """Whether a connection was free; the one that has been for longest takes it."""
        while self._free:
            connection = self._free.popleft()
            if connection.is_open:
                self._running[number] = connection
                connection.send(number, request)
                return True
        return False

    def drop(self, number: int) -> None:
        """Ends the connection on which request ``number`` runs: nobody waits for the answer any more."""
        self._running.pop(number).close()

    async def close(self) -> None:
        self._ending = True
        opening = [*self._opening]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in [*self._open]:
            connection.close()
        while self._open:
            await asyncio.sleep(0)

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)
        self.is_down = False
        self._free.append(connection)
        self._tell_free()

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        number, connection.number = connection.number, -1
        if self._running.pop(number, None) is not None:
            self._tell_answered(number, status, body)
            if connection.is_open:
                self._free.append(connection)
                self._tell_free()

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if self._running.pop(connection.number, None) is not None:
            self._tell_lost(connection.number)
        if not self._ending:
            self._reopen()

    def _reopen(self) -> None:
        task = asyncio.get_running_loop().create_task(self._try_again())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _try_again(self) -> None:
        while True:
            try:
                return await self._connect()
            except (OSError, TimeoutError):
                if not self._open:
                    self.is_down = True
                    self._tell_down()
            await asyncio.sleep(AGAIN_S)

    async def _connect(self) -> None:
        create = asyncio.get_running_loop().create_connection
        async with asyncio.timeout(CONNECT_S):
            await create(lambda: Connection(self), self._target.host, self._target.port, ssl=self._ssl)
