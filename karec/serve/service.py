"""Opens, reloads and closes the state of one worker: bundle, settings, tokens and queues."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from threading import Event, Lock
from typing import Any, Self

import msgspec
import numpy as np

from karec.bundle import Bundle
from karec.bundle.hot_swap import HotSwap
from karec.bundle.watch import Watcher
from karec.config import open_hot_swap
from karec.config.open import read_identity
from karec.config.scenes import Config
from karec.config.serve_settings import FIXED, ServeSettings
from karec.errors import BundleError, ConfigError, one_line
from karec.online.poll import Poller
from karec.pipeline.cascade import Cascade
from karec.pipeline.deadline import usable_cores
from karec.pipeline.types import Request
from karec.serve.admission import AdmissionQueue, RateLimit
from karec.serve.auth import Tokens
from karec.serve.metrics import FOLDER_VARIABLE, Metrics
from karec.serve.problems import ProblemError

DEFAULT_SCENE = "home"
OPTIONS_VARIABLE = "KAREC_SERVE_OPTIONS"
OBSERVE_PERIOD_S = 5.0
MAX_RETRY_S = 30.0  # between two attempts to open while the online store cannot be reached
N_SMOKE_USERS = 4
N_SMOKE_ROUNDS = 2  # the first one compiles and allocates

_log = logging.getLogger("karec.serve")


class ServeOptions(msgspec.Struct, frozen=True):
    """Options that the parent passes to its workers.

    `overrides`: settings of the command line; they replace those of the file. `fixed`: the settings that the
    parent started with; a changed file does not open its port to other machines.
    """

    config: str
    overrides: dict[str, Any]
    is_insecure: bool
    fixed: dict[str, Any]

    @classmethod
    def from_environment(cls) -> Self:
        return msgspec.json.decode(os.environ[OPTIONS_VARIABLE], type=cls)

    def to_environment(self) -> None:
        os.environ[OPTIONS_VARIABLE] = msgspec.json.encode(self).decode()

    def settings(self, config: Config) -> ServeSettings:
        return apply_overrides(config, self.overrides).replace(**self.fixed)

    def changed_fixed(self, config: Config) -> list[str]:
        """Returns the names of settings that need a restart."""
        settings = apply_overrides(config, self.overrides)
        return [name for name in FIXED if getattr(settings, name) != self.fixed[name]]


def apply_overrides(config: Config, overrides: Mapping[str, Any]) -> ServeSettings:
    """Returns the settings of the file with `overrides`. Raises ConfigError if one does not fit."""
    try:
        return config.serve.replace(**overrides)
    except ConfigError as error:
        raise ConfigError(f"serve: {error}") from None


@dataclass(frozen=True)
class Served:
    """State that one request reads. A request keeps one object from its start to its end.

    `new_conditions`: limits conditions without a mask. `page_keys`: keys of `karec.serve.page_token`.
    """

    hot_swap: HotSwap
    settings: ServeSettings
    has_online_store: bool
    new_conditions: RateLimit
    page_keys: tuple[bytes, ...] = ()

    def scene_of(self, scene: str | None) -> str:
        """Returns `scene`, or the default one: home, or the first of the file."""
        if scene is not None:
            return scene
        cascades = self.hot_swap.cascades
        return DEFAULT_SCENE if DEFAULT_SCENE in cascades else next(iter(cascades))


class Service:
    """State of one worker. `open`, `reload` and `close` block: call them on a thread.

    `served` is None until the bundle is open. Three queues prevent that one kind of call starves another:
    pages, events, and all other calls (`lookup_queue`).
    """

    def __init__(self, options: ServeOptions) -> None:
        self.path = Path(options.config)
        self._options = options
        config = Config.read(self.path)
        settings = self.settings = options.settings(config)
        self.tokens = Tokens.read(settings, self.path.parent, is_insecure=options.is_insecure)
        metrics = self.metrics = Metrics(Path(os.environ[FOLDER_VARIABLE]))
        threads = config.threads or max(-(-usable_cores() // settings.workers), 1)
        self.recommend_queue = AdmissionQueue(
            "recommend", threads, settings.max_queue_ms, settings.max_queue_size, metrics
        )
        self.event_queue = AdmissionQueue("events", 2, 2_000.0, 256, metrics)
        self.lookup_queue = AdmissionQueue("lookup", 1, 2_000.0, 16, metrics)
        self._new_conditions = RateLimit(settings.max_new_conditions_per_s)
        self.queues = (self.recommend_queue, self.event_queue, self.lookup_queue)
        self.served: Served | None = None
        self.failure = "the service is starting"  # why it is not ready
        self._closing = Event()
        self._reloading = Lock()
        self._pending: list[str] = []  # settings that need a restart
        self._watcher: Watcher | None = None
        self._observer = Poller(self, Service._observe, OBSERVE_PERIOD_S, "karec-metrics")

    def ready(self) -> Served:
        """Raises ProblemError 503 while the worker cannot serve, also while the blocked items are unknown."""
        served = self.served
        if served is None:
            raise ProblemError(503, self.failure, retry_after_s=0)
        if not served.hot_swap.is_ready:
            detail = "the online store could not be read yet: the state of items is unknown"
            raise ProblemError(503, detail, retry_after_s=0)
        return served

    def open(self) -> None:
        """Opens and verifies the bundle, builds every scene and runs smoke requests.

        Raises the error that prevents serving.
        """
        hot_swap = open_hot_swap(self.path, None)
        try:
            run_smoke_requests(hot_swap)
        except BaseException:
            hot_swap.close()
            raise
        self.served = self._make_served(hot_swap, has_online_store=Config.read(self.path).online is not None)
        versions = next(iter(hot_swap.cascades.values())).versions
        _log.info("bundle %s, model %s is in service", versions.get("bundle"), versions.get("model"))
        self._watcher = Watcher(self, partial(read_identity, self.path), self.settings.watch_seconds)
        self._observe()
        self._observer.start()
        _freeze_objects()

    def open_with_retries(self) -> None:
        """Opens; retries with back-off until it succeeds or `close` is called. Raises nothing."""
        retry_s = 1.0
        while not self._closing.is_set():
            try:
                self.open()
                return
            except Exception as error:  # a step of the host may raise anything
                self.failure = "bundle or online store cannot be opened yet; the log has the reason"
                message = one_line(f"{self.path} cannot be served yet: {error}")
                _log.warning("%s; the next attempt is in %.0f s", message, retry_s)
            self._closing.wait(retry_s)
            retry_s = min(2 * retry_s, MAX_RETRY_S)

    def reload(self) -> bool:
        """Serves the current karec.toml and bundle. Returns False if they are in service already.

        Raises the error for which they are refused; then the previous version stays in service.
        """
        with self._reloading:
            served = self.served
            if served is None or self._closing.is_set():
                return False
            config = Config.read(self.path)
            settings, pending = self._options.settings(config), self._options.changed_fixed(config)
            tokens = Tokens.read(settings, self.path.parent, is_insecure=self._options.is_insecure)
            is_new = served.hot_swap.reload()
            if pending and pending != self._pending:
                _log.warning("%s: restart the service to apply %s", self.path, ", ".join(pending))
            self._pending = pending
            self.settings = settings
            self.tokens = tokens
            self.recommend_queue.max_wait_ms = settings.max_queue_ms
            self.recommend_queue.max_size = settings.max_queue_size
            self._new_conditions.per_second = settings.max_new_conditions_per_s
            self.served = self._make_served(served.hot_swap, has_online_store=config.online is not None)
            if is_new:
                _freeze_objects()
            return is_new

    def reload_or_warn(self) -> None:
        try:
            self.reload()
        except Exception as error:  # a step of the host may raise anything
            _log.warning("%s", one_line(f"{self.path} was not reloaded: {error}"))

    def close(self) -> None:
        """Waits for running calls and side effects, and writes pending rows of logs."""
        self._closing.set()
        if self._watcher is not None:
            self._watcher.stop()
        self._observer.stop()
        for queue in self.queues:
            queue.close()
        if self.served is not None:
            for counts in self.served.hot_swap.close():
                _log.info("%s", counts)
        self.metrics.close()

    def _make_served(self, hot_swap: HotSwap, *, has_online_store: bool) -> Served:
        keys = self.tokens.page_keys
        return Served(hot_swap, self.settings, has_online_store, self._new_conditions, keys)

    def _observe(self) -> None:
        if self.served is not None:
            self.metrics.observe(self.served.hot_swap)


def run_smoke_requests(hot_swap: HotSwap) -> None:
    """Runs requests of a few known users and an unknown one in every scene and arm, without side effects.

    Raises BundleError if one fails.
    """
    for scene, cascade in hot_swap.cascades.items():
        arms = {} if cascade.experiments is None else cascade.experiments.pipelines
        single_arms = [pipeline for key, pipeline in arms.items() if sum(map(bool, key)) == 1]
        for pipeline, user in product([cascade, *single_arms], smoke_users(cascade) * N_SMOKE_ROUNDS):
            try:
                pipeline.without_side_effects().run(Request(user, scene=scene))
            except Exception as error:  # a step of the host may raise anything
                place = f"{cascade.versions['bundle']}: a smoke request of user {user!r} in scene {scene!r}"
                raise BundleError(one_line(f"{place} failed: {type(error).__name__}: {error}")) from error


def smoke_users(cascade: Cascade) -> list[int | str]:
    """Returns ids of users, spread over the table of users, and one unknown id."""
    bundle = cascade.bundle
    naming = None if bundle is None else bundle.naming
    ids = bundle.snapshot.users.ids if isinstance(bundle, Bundle) else np.empty(0, np.int64)
    sample = ids[np.linspace(0, len(ids) - 1, N_SMOKE_USERS).astype(np.int64)] if len(ids) else ids
    if naming is None:
        return [*sample.tolist(), -(2**62)]
    named = naming.users.names(sample).tolist() if len(sample) else []
    return [*named, "an unknown user" if naming.users.kind == "string" else 2**62]


def _freeze_objects() -> None:
    """Excludes loaded objects from collections while requests run, and frees those of a replaced version."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
