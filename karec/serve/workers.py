"""The parent: one socket, N workers that are forked over it, and what becomes of them.

Memory    The parent imports what workers need, opens and verifies the bundle, and has no thread: workers
          share its pages. It lets a bundle go when ``current`` names another one.
Deaths    A worker that was ready is replaced at once; one that died before after 1, 2, 4 … 64 seconds, or
          when ``karec.toml`` or ``current`` change.
Signals   SIGTERM and SIGINT end the workers, each after its last answer; SIGHUP makes each reload.
The end   Status 0: every worker ended well. A worker that outlives ``drain_seconds`` is killed: status 1.
          A parent that is killed takes its workers along: each ends as by SIGTERM.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.bundle import Bundle, identity_of
from karec.config.open import read_identity
from karec.config.scenes import Config
from karec.config.serve_settings import FIXED, ServeSettings
from karec.errors import ConfigError, KarecError
from karec.serve import worker
from karec.serve.auth import Tokens
from karec.serve.board import ABSENT, READY, Board
from karec.serve.dealing import Dealing
from karec.serve.metrics import metrics_folder
from karec.serve.preloading import preloaded
from karec.serve.service import Start, settings_of

MOST_PAUSE_S = 64.0
LOOK_S = 1.0
BACKLOG = 2048
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_log = logging.getLogger("karec.serve")


@dataclass
class Place:
    """Where a worker runs, or runs again from ``next_s`` on; ``failed``: deaths in turn before it was
    ready."""

    pid: int | None = None
    failed: int = 0
    next_s: float = 0.0


class Workers:
    """``given`` are settings that the command line sets. ConfigError, BundleError, OSError: why nothing is
    served."""

    def __init__(self, path: Path, given: Mapping[str, Any], insecure: bool) -> None:
        config = Config.read(path)
        self.settings = settings_of(config, given)
        Tokens.read(self.settings, path.parent, insecure)
        self._path = path
        self._start = Start(given, insecure, {name: getattr(self.settings, name) for name in FIXED})
        self._socket = _bound(self.settings)
        self._bundle: Bundle | None = preloaded(config)
        self._board = Board(self.settings.workers)
        self._dealing = Dealing(self._board)
        self._named = read_identity(path)
        self._places = [Place() for _ in range(self.settings.workers)]
        self._ever_ready = False
        self._alive, self._held = os.pipe()
        self._socket.listen(BACKLOG)  # now that nothing can be wrong: who comes waits for a worker

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> int:
        """Until a signal ends it; the exit status. The caller has blocked ``SIGNALS``."""
        with metrics_folder() as folder:
            return self._run(folder)

    def _run(self, folder: Path) -> int:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is a file
        gc.collect()
        gc.freeze()  # workers' collections write no page of what is there already
        while True:
            self._start_due(folder)
            got = signal.sigtimedwait(SIGNALS, self._pause())
            self._ever_ready = self._ever_ready or self._board.any_in(READY)
            number = 0 if got is None else got.si_signo
            if number == signal.SIGHUP:
                self._tell(signal.SIGHUP)
            elif number in (signal.SIGTERM, signal.SIGINT):
                return self._end(0)
            elif self._reaped() == worker.NOT_LOADED and not self._ever_ready:
                return self._end(worker.NOT_LOADED)
            self._look()

    def _pause(self) -> float:
        due = [place.next_s - time.monotonic() for place in self._places if place.pid is None]
        return max(min([*due, LOOK_S]), 0.0)

    def _start_due(self, folder: Path) -> None:
        for at, place in enumerate(self._places):
            if place.pid is None and time.monotonic() >= place.next_s:
                self._renew()
                sys.stdout.flush()
                sys.stderr.flush()
                place.pid = os.fork()
                if place.pid == 0:
                    self._be_worker(at, folder)

    def _be_worker(self, at: int, folder: Path) -> None:
        """In the child; it never returns into what its parent was doing."""
        status = 1
        try:
            os.close(self._held)
            for number in (signal.SIGINT, signal.SIGHUP):  # it reads what is new; its loop listens soon
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            call = self._path, self._start, self._dealing, at, self._alive, folder
            status = worker.run(self._socket, *call)
        except (KarecError, ValueError, OSError) as error:
            _log.error("worker %d cannot serve: %s", os.getpid(), error)
            status = worker.NOT_LOADED
        except BaseException:
            _log.exception("worker %d ends by a fault", os.getpid())
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reaped(self) -> int:
        """Takes note of workers that have ended; the exit status of the last, 0 where none has."""
        found = 0
        for at, place in enumerate(self._places):
            if place.pid is None:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid == 0:
                continue
            found = os.waitstatus_to_exitcode(status)
            was_ready = self._board.rows["state"][at] == READY
            self._ever_ready = self._ever_ready or was_ready
            place.failed = 0 if was_ready else place.failed + 1
            pause = 0.0 if was_ready else min(2.0 ** (place.failed - 1), MOST_PAUSE_S)
            _log.warning("worker %d ended with %d; another begins in %.0f s", place.pid, found, pause)
            place.pid, place.next_s = None, time.monotonic() + pause
            self._board.enter(at, ABSENT, 0)
            self._dealing.hand_on(at)
            self._board.put(at, deaths=self._board.rows["deaths"][at] + 1)
        return found

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(place.pid, number)

    def _renew(self) -> None:
        """Opens the bundle that is current now, where another one was let go."""
        if self._bundle is None:
            with suppress(KarecError, OSError):  # the worker says why
                self._bundle = preloaded(Config.read(self._path))
                gc.collect()
                gc.freeze()

    def _look(self) -> None:
        """A bundle that is not ``current`` any more may be removed; the next fork opens the new one. Where
        file or bundle are others than before, workers that could not begin with those try these.
        """
        named = read_identity(self._path)
        if named == self._named:
            return
        self._named, now = named, time.monotonic()
        for place in self._places:
            place.failed, place.next_s = 0, min(place.next_s, now)
        with suppress(KarecError, OSError):  # what serves serves on
            if self._bundle and identity_of(Config.read(self._path).bundle) != identity_of(self._bundle.path):
                self._bundle = None

    def _end(self, status: int) -> int:
        """Ends the workers; those that do not end in time are killed."""
        self._socket.close()
        self._tell(signal.SIGTERM)
        until = time.monotonic() + self.settings.drain_seconds
        while any(place.pid is not None for place in self._places):
            left = until - time.monotonic()
            if left <= 0:
                self._tell(signal.SIGKILL)
                status, until = 1, time.monotonic() + self.settings.drain_seconds
            signal.sigtimedwait((signal.SIGCHLD,), max(min(left, LOOK_S), 0.01))
            for place in self._places:
                if place.pid is not None:
                    pid, ended = os.waitpid(place.pid, os.WNOHANG)
                    if pid:
                        place.pid = None
                        of_signal = -signal.SIGTERM  # it had not begun to listen for it
                        status = status or int(os.waitstatus_to_exitcode(ended) not in (0, of_signal))
        return status


def _bound(settings: ServeSettings) -> socket.socket:
    """ConfigError: another process has the port, or the machine has no such address."""
    host, port = settings.host, settings.port
    found = None
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        if found is not None:
            found.close()
        raise ConfigError(f"nothing can listen on {host}:{port}: {error.strerror or error}") from None
    return found
