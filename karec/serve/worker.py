"""One worker process: a cascade, its threads, and an event loop over the socket that all workers listen
on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from karec.errors import one_line
from karec.serve.app import build
from karec.serve.board import DRAINING, READY, STARTING
from karec.serve.connections import Connection
from karec.serve.dealing import Dealer, Dealing
from karec.serve.recommend import Recommend
from karec.serve.service import Service, Start
from karec.serve.straight import Straight

NOT_LOADED = 2  # exit status
# how long a thread of Python keeps the others waiting: refusals are written between two steps
SWITCH_S = 0.0005
LAST_S = 0.2  # after the last accept, requests that are on their way are answered
KEEP_ALIVE_S = 75

_log = logging.getLogger("karec.serve")


class _Server(uvicorn.Server):
    """``take``: from then on other workers give it connections."""

    def __init__(self, config: uvicorn.Config, dealer: Dealer, straight: Straight) -> None:
        super().__init__(config)
        self._dealer = self.server_state.dealer = dealer  # type: ignore[attr-defined]
        self.server_state.straight = straight  # type: ignore[attr-defined]

    def take(self) -> None:
        def given() -> Connection:
            return Connection(config=self.config, server_state=self.server_state, app_state={}, given=True)

        self._dealer.take(given)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the worker has its own

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.server_state.ending = True  # type: ignore[attr-defined]
        await asyncio.sleep(LAST_S)
        self._dealer.stop()
        await super().shutdown(sockets)
        for connection in self.server_state.connections:  # not done in time: their files close with the loop
            if isinstance(connection, Connection):
                connection.nobody_reads()


def run(
    sock: socket.socket,
    path: Path,
    start: Start,
    dealing: Dealing,
    worker: int,
    parent: int,
    folder: Path,
) -> int:
    """Serves until SIGTERM, or until the pipe ``parent`` ends; the exit status. SIGHUP reloads. ``folder``:
    where all workers' metrics are.
    """
    board = dealing.board
    board.enter(worker, STARTING, os.getpid())
    sys.setswitchinterval(SWITCH_S)
    service = Service(path, start, board, worker, folder)
    try:
        with asyncio.Runner(loop_factory=_loop) as runner:
            return runner.run(_serve(service, sock, parent, Dealer(dealing, worker)))
    finally:
        service.close()


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


async def _serve(service: Service, sock: socket.socket, parent: int, dealer: Dealer) -> int:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # broken requests are the clients' affair
    gate = build(service)
    config = uvicorn.Config(
        gate,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(int(service.settings.drain_seconds), 1),
    )
    loop = asyncio.get_running_loop()
    server = _Server(config, dealer, Recommend(service, gate.admit))

    def end() -> None:
        service.draining = server.should_exit = True
        # servers have duplicates: else who connects when they are closed waits, and is answered by nobody
        sock.close()
        service.board.put(service.worker, state=DRAINING)
        loop.remove_reader(parent)

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # of a terminal, which the parent gets too
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, _reload, service))
    loop.add_reader(parent, end)  # it never writes: its end is the parent's
    loading = loop.run_in_executor(None, _load, service)
    serving = None
    # else others answer meanwhile; once they do, they are given who comes
    if not service.board.any_in(READY):
        serving = asyncio.create_task(server.serve([sock.dup()]))
    try:
        await loading
    except Exception as error:  # a step of the host's own may raise anything
        _log.error("%s", one_line(f"worker {os.getpid()} cannot serve: {error}"))
        end()
        if serving is not None:
            await serving
        return NOT_LOADED
    server.take()
    if not service.draining and serving is None:
        serving = asyncio.create_task(server.serve([sock.dup()]))
    if serving is not None:
        await serving
    return 0


def _load(service: Service) -> None:
    service.load()
    gc.collect()
    gc.freeze()  # a collection while requests run walks through none of what was loaded


def _reload(service: Service) -> None:
    try:
        changed = service.reload()
    except Exception as error:
        _log.warning("%s", one_line(f"{service.path} is not reloaded, what served serves on: {error}"))
    else:
        _log.info(
            "%s: %s", service.path, "another version is in service" if changed else "nothing else to serve"
        )
