"""Runs the parent process of `karec serve`: one socket and uvicorn's worker processes."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from karec.config.open import warn_if_exposure_is_not_shared
from karec.config.scenes import Config
from karec.config.serve_settings import FIXED, ServeSettings
from karec.errors import ConfigError
from karec.serve.auth import Tokens
from karec.serve.metrics import metrics_folder
from karec.serve.service import ServeOptions, apply_overrides

HEALTH_CHECK_S = 5  # the parent replaces a worker that does not respond for this time
END_CHECK_S = 1.0  # the same when the service ends
LAST_REQUEST_S = 0.5  # from the accept of a connection to its first request
EXIT_S = 5.0  # after drain_seconds, to close logs
KEEP_ALIVE_S = 75
MAX_CONNECTIONS = 8192  # of a worker
MAX_INCOMPLETE_HEAD_BYTES = 1 << 16
BACKLOG = 2048
CANNOT_SERVE = 2  # exit status

_log = logging.getLogger("karec.serve")


class DrainingServer(uvicorn.Server):
    """uvicorn's server that also answers connections whose first request was in transit at SIGTERM."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(LAST_REQUEST_S)
        await super().shutdown(sockets)


class Worker(Process):
    """A worker process with a DrainingServer."""

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = DrainingServer(self.config)
        return self._server


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which replaces dead and hung workers, with three differences.

    SIGHUP makes the workers reload instead of restarting them. A worker that cannot start ends the service
    only if it is one of the first and none has served yet. The end does not wait for a worker that hangs.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain_seconds: float) -> None:
        super().__init__(config, sockets)
        self.exit_status = 0
        self._drain_seconds = drain_seconds
        self._has_served = False

    def init_processes(self) -> None:
        self.processes = [self._start_worker() for _ in range(self.processes_num)]
        self._first_processes = tuple(self.processes)

    def _start_worker(self) -> Process:
        process = Worker(self.config, self.sockets)
        process.start()
        return process

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid is not None and process.is_ready(
                END_CHECK_S
            ):  # a starting worker reads the new file
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        for i, process in enumerate(self.processes):
            if process.is_alive(HEALTH_CHECK_S):
                self._has_served = self._has_served or process.is_ready(END_CHECK_S)
                continue
            process.kill()
            process.process.join()
            is_first = process in self._first_processes
            if process.exitcode == STARTUP_FAILURE and is_first and not self._has_served:
                self.exit_status = CANNOT_SERVE
                self.should_exit.set()
                return
            _log.warning("worker %s ended with %s; a new one starts", process.pid, process.exitcode)
            self.processes[i] = self._start_worker()

    def terminate_all(self) -> None:
        for listener in self.sockets:  # otherwise new connections would wait for a process that ends
            listener.close()
        for process in self.processes:
            if process.is_alive(END_CHECK_S):
                process.terminate()
            else:
                process.kill()

    def join_all(self) -> None:
        end = time.monotonic() + self._drain_seconds + EXIT_S
        for process in self.processes:
            process.process.join(max(end - time.monotonic(), 0.0))
            if process.exitcode is None:
                _log.warning("worker %s did not end within drain_seconds and is killed", process.pid)
                self.exit_status = 1
                process.kill()
                process.process.join()


def serve(path: Path, overrides: Mapping[str, Any], *, is_insecure: bool, fd: int | None) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit status.

    `overrides`: settings of the command line. `fd`: a listening socket that this process inherited. Raises
    ConfigError or OSError if the service cannot start.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the supervisor handles it
    file = Config.read(path)
    inherited = None if fd is None else _inherit(fd)
    if inherited is not None:
        host, port = inherited.getsockname()[:2]
        overrides = {**overrides, "host": host, "port": port}
    settings = apply_overrides(file, overrides)
    warn_if_exposure_is_not_shared(file, settings.workers)
    Tokens.read(settings, path.parent, is_insecure=is_insecure)
    listener = _bind(settings) if inherited is None else inherited
    listener.listen(BACKLOG)
    _, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    fixed = {name: getattr(settings, name) for name in FIXED}
    ServeOptions(str(path), dict(overrides), is_insecure, fixed).to_environment()
    server = uvicorn.Config(
        "karec.serve.app:create_app",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # broken requests are errors of clients; the application logs its own
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_INCOMPLETE_HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(int(settings.drain_seconds), 1),
    )
    with metrics_folder():
        supervisor = Supervisor(server, [listener], settings.drain_seconds)
        workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
        print(f"{_address(listener)} ({workers})", flush=True)  # noqa: T201
        supervisor.run()
    return supervisor.exit_status


def _inherit(fd: int) -> socket.socket:
    """Raises ConfigError if `fd` is not a TCP socket."""
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(
            f"--fd {fd} is not a socket of this process ({error.strerror}). systemd passes 3."
        ) from None
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        raise ConfigError(f"--fd {fd} is a socket of {listener.family.name}, expected TCP")
    return listener


def _bind(settings: ServeSettings) -> socket.socket:
    """Raises ConfigError if the port is taken, or the address is not of this machine."""
    listener = None
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        reason = error.strerror or error
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({reason}). Choose another host or port."
        ) from None
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
