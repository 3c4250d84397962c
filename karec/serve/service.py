"""One worker's cascade and settings: loaded, tried out, reloaded, closed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from starlette.types import Scope

from karec.bundle.hot_swap import HotSwap
from karec.bundle.watch import Watcher
from karec.config import open_hot_swap
from karec.config.open import read_identity
from karec.config.scenes import Config
from karec.config.serve_settings import ServeSettings
from karec.errors import ConfigError, one_line
from karec.online.poll import Poller
from karec.pipeline.types import Page
from karec.serve.admission import Lane
from karec.serve.auth import Tokens
from karec.serve.board import LANES, READY, Board
from karec.serve.first_requests import first_requests
from karec.serve.metrics import Metrics
from karec.serve.problems import ProblemError
from karec.serve.spans import Spans

HOME = "home"
TRACE = b"traceparent"
OBSERVE_S = 5.0
ASIDE = 2  # threads for events, works and what is known of one user or work
ASIDE_WAIT_MS, ASIDE_MOST = 2_000.0, 256

_log = logging.getLogger("karec.serve")


@dataclass(frozen=True)
class Served:
    """What requests read, one object from their first line to their last. ``records``: there is an event
    log."""

    live: HotSwap
    settings: ServeSettings
    tokens: Tokens
    metrics: Metrics
    records: bool

    def scene_of(self, asked: str | None) -> str:
        """The scene asked for; where none is: home, or the file's first."""
        if asked is not None:
            return asked
        cascades = self.live.cascades
        return HOME if HOME in cascades else next(iter(cascades))


def settings_of(config: Config, given: Mapping[str, Any]) -> ServeSettings:
    """What the file says, and over it what the command line does. ConfigError for what does not fit."""
    settings = config.serve
    try:
        return settings.replace(**given)
    except ConfigError as error:
        raise ConfigError(f"serve: {error}") from None


@dataclass(frozen=True)
class Start:
    """``given``: settings that the command line sets, whatever the file says; ``fixed``: what the parent
    began with and only a new start changes. A file that names another host does not open the port that is
    there to whom it lets in.
    """

    given: Mapping[str, Any]
    insecure: bool
    fixed: Mapping[str, Any]

    def settings(self, config: Config) -> ServeSettings:
        return settings_of(config, self.given).replace(**self.fixed)

    def waiting(self, config: Config) -> list[str]:
        """Names of the settings that need a new start."""
        asked = settings_of(config, self.given)
        return [name for name, value in self.fixed.items() if getattr(asked, name) != value]


class Service:
    """``served`` is None until ``load`` is done. ``load``, ``reload`` and ``close`` block: not on the event
    loop.

    ``folder``: where all workers' metrics are.
    """

    def __init__(self, path: Path, start: Start, board: Board, worker: int, folder: Path) -> None:
        self.path, self._start = path, start
        self.board, self.worker = board, worker
        config = Config.read(path)
        self.settings = start.settings(config)
        self.tokens = Tokens.read(self.settings, path.parent, start.insecure)
        threads = config.threads or threads_of(self.settings.workers)
        self.metrics = Metrics(folder)
        self.spans = None if self.settings.spans is None else Spans(self.settings)
        refused, told = self.metrics.refused, [board.lane(worker, name) for name in LANES]
        self.feeds = Lane(
            "karec-feed", threads, self.settings.wait_ms, self.settings.requests_at_once, refused, told[0]
        )
        self.aside = Lane("karec-aside", ASIDE, ASIDE_WAIT_MS, ASIDE_MOST, refused, told[1])
        self.served: Served | None = None
        self.draining = False
        self._reloading = Lock()
        self._waiting: list[str] = []
        self._watcher: Watcher | None = None
        self._observer: Poller[Service] | None = None

    def load(self) -> None:
        """Opens and verifies the bundle, builds every scene and runs sampled requests. Raises why it cannot
        serve."""
        live = open_hot_swap(self.path, None)
        first_requests(live)
        records = Config.read(self.path).live is not None
        self.served = Served(live, self.settings, self.tokens, self.metrics, records)
        self._observer = Poller(self, Service._observe, OBSERVE_S, "karec-metrics")
        self._observe()
        self._observer.start()
        self._watcher = Watcher(self, partial(read_identity, self.path), self.settings.watch_seconds)
        self.board.enter(self.worker, READY, os.getpid())

    def _observe(self) -> None:
        served = self.served
        if served is None:
            return
        try:
            self.metrics.observe(served.live)
        except Exception as error:  # the thread outlives whatever a bundle or a step does
            _log.warning("%s", one_line(f"metrics are not read: {type(error).__name__}: {error}"))

    def tell_spans(self, answers: Sequence[tuple[Page, float]], scope: Scope) -> None:
        """After the answer to ``scope`` is written: the spans of each feed, which took so many ms, where it
        is one of those. On the event loop.
        """
        if self.spans is not None:
            traceparent = next(
                (value.decode("latin-1") for name, value in scope["headers"] if name == TRACE), None
            )
            for feed, ms in answers:
                self.spans.answered(feed, ms, traceparent)

    def ready(self) -> Served:
        """ProblemError 503 while this worker starts. One that ends answers what still comes."""
        if self.served is None:
            raise ProblemError(503, "the service starts", retry_after=1)
        return self.served

    def reload(self) -> bool:
        """Serves what karec.toml and ``current`` name now; whether that is another cascade. Raises why it is
        refused: then what served serves on.
        """
        with self._reloading:
            served = self.served
            if served is None or self.draining:
                return False
            try:
                config = Config.read(self.path)
                settings, waiting = self._start.settings(config), self._start.waiting(config)
                tokens = Tokens.read(settings, self.path.parent, self._start.insecure)
                changed = served.live.reload()
            except Exception as error:  # a step of the host's own may raise anything
                row = self.board.rows[self.worker]
                why = one_line(str(error)).encode()[:240]
                self.board.put(self.worker, refused=row["refused"] + 1, why=why)
                raise
            if waiting and waiting != self._waiting:
                _log.warning("%s of %s need a new start", ", ".join(waiting), self.path)
            self._waiting = waiting
            self.settings, self.tokens = settings, tokens
            self.feeds.wait_ms, self.feeds.most = settings.wait_ms, settings.requests_at_once
            self.served = replace(served, settings=settings, tokens=tokens, records=config.live is not None)
            self.board.put(self.worker, reloads=self.board.rows[self.worker]["reloads"] + changed, why=b"")
            return changed

    def close(self) -> None:
        """Waits for what runs, and writes what observers and logs hold back."""
        if self._watcher is not None:
            self._watcher.stop()
        self.feeds.close()
        self.aside.close()
        if self._observer is not None:
            self._observer.stop()
        self.metrics.close()
        if self.spans is not None:
            self.spans.close()
        if self.served is not None:
            for counts in self.served.live.close():
                _log.info("%s", counts)


def threads_of(workers: int) -> int:
    """Of each worker: its share of the cores that the process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(-(-cores // workers), 1)
