"""Replaces the cascades in service by those of another bundle or configuration, while requests run."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import TIMEOUT_MAX, Lock
from typing import TYPE_CHECKING, Any, Self

from karec.bundle.version import Version, check_served_requests
from karec.bundle.watch import Watcher
from karec.errors import one_line
from karec.online.poll import Poller
from karec.pipeline.cascade import Cascade
from karec.pipeline.side_effects import SideEffectCounts
from karec.pipeline.types import Page, Request
from karec.where import Where

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.aggregates.events import Events
    from karec.online.parse_events import Acknowledgement

N_SMOKE_REQUESTS = 4  # of each scene, the newest that got items: a new version must serve them
REFRESH_PERIOD_S = 0.5
SWITCH_INTERVAL_S = 0.0005

_log = logging.getLogger("karec.bundle")


@dataclass(frozen=True)
class ReloadCounts:
    """Numbers of reloads that replaced a version and of those that were refused. ``reason``: of the last
    refusal."""

    done: int = 0
    refused: int = 0
    reason: str = ""


class HotSwap:
    """Serves the newest version and replaces it while requests run. ``karec.open(…, reload=True)`` makes one.

    Threads       Any thread may call ``run``. A request ends on the version on which it began. ``reload`` and
                  ``close`` wait for running requests: call them from a thread that runs no request, step or
                  side effect. Calls of several threads run one after another.
    Memory        At most two versions are open: the one in service, and one that is being opened or whose
                  last requests run. A reference to ``cascades`` or a bundle keeps its memory.
    Side effects  Those of a replaced version see its last pages and are closed before ``reload`` returns.
    Exposure      A new version continues with the exposure counters of the one before.
    Index         Changes of a bundle's index stay while only karec.toml changes. Another bundle has another
                  index: apply them again.
    Library       A thread adds newer vectors to the index each half second. A running request keeps its
                  generation.
    Events        ``record`` stores events in the online store: the next request reads them. Another bundle
                  continues with the same store. If the store did not respond, ``degraded`` of a page names
                  ``request.online_store``.
    Deadlines     A new version starts with the step times of the one before.
    Fork          A child of ``os.fork`` must open its own HotSwap.
    """

    def __init__(
        self,
        open_version: Callable[[Version | None], Version],
        read_identity: Callable[[], Hashable],
        add_refreshed: Callable[[Version], None],
        *,
        watch_seconds: float | None = None,
    ) -> None:
        """Opens the first version.

        Args:
            open_version: opens what ``read_identity()`` identifies now. Its argument is the version in
                service or None; the new version shares its ingestion.
            read_identity: returns the identity of the current configuration and bundle.
            add_refreshed: adds newer vectors to the index of a version's bundle.
            watch_seconds: a thread reads the identity this often and reloads if it changed; None: no thread.
        """
        if watch_seconds is not None and not 0 < watch_seconds <= TIMEOUT_MAX:
            raise ValueError(
                f"watch_seconds = {watch_seconds}, expected a time above 0, or None for no watcher"
            )
        self._open_version = open_version
        self._read_identity = read_identity
        self._add_refreshed = add_refreshed
        self._leaving: Version | None = None
        self._closed_side_effects: Mapping[tuple[str, str], SideEffectCounts] = {}
        self._reloading = Lock()
        self._reloads = ReloadCounts()
        self._served: defaultdict[str, deque[Request]] = defaultdict(lambda: deque(maxlen=N_SMOKE_REQUESTS))
        version = open_version(None)
        self._serving: Version | None = version
        self._add_refreshed(version)
        _follow_events(version)
        self._poller = Poller(self, HotSwap.add_refreshed, REFRESH_PERIOD_S, "karec-refreshed")
        self._poller.start()
        self._watcher: Watcher | None = None
        if watch_seconds is not None:
            self._watcher = Watcher(self, read_identity, watch_seconds)

    @property
    def cascades(self) -> Mapping[str, Cascade]:
        """{scene: cascade} of the version in service. Its side effects are closed when it is replaced."""
        return self._version().cascades

    @property
    def reloads(self) -> ReloadCounts:
        return self._reloads

    @property
    def closed_side_effects(self) -> Mapping[tuple[str, str], SideEffectCounts]:
        """{(scene, side effect): counts} of replaced versions. If it is read before ``cascades``, no count is
        in both."""
        return self._closed_side_effects

    @property
    def event_counts(self) -> Mapping[str, int]:
        """{result: events} that this version has followed; empty without an online store."""
        online = self._version().online
        return {} if online is None else +(online.applier.counts + online.follower.counts)

    @property
    def is_ready(self) -> bool:
        """True unless there is an online store whose item lifecycle was not read to its end yet."""
        online = self._version().online
        return online is None or online.follower.is_ready

    def store_failure(self) -> str | None:
        """Reads the online store. Returns why it is degraded, or None."""
        online = self._version().online
        return None if online is None else online.follower.view(-1)[1]

    def run(self, request: Request) -> Page:
        """Returns the page of the request's scene. Raises ValueError if the scene is not served or if this is
        closed."""
        version = self._begin_request()
        try:
            page = version.cascade_of(request.scene).run(request)
        finally:
            version.running.end()
            del version  # a stored traceback would keep the version in memory
        is_replayable = request.item_ids is None and request.where is None and request.arms is None
        if len(page.candidates) and is_replayable:
            self._served[request.scene].append(request)
        return page

    def similar(
        self, scene: str, item_id: int | str, k: int, where: Where | None = None
    ) -> tuple[tuple[int | str, float], ...]:
        """Returns ``Cascade.similar`` of the scene. Raises ValueError like ``run``."""
        version = self._begin_request()
        try:
            return version.cascade_of(scene).similar(item_id, k, where=where)
        finally:
            version.running.end()
            del version

    def record(
        self, events: Events | Iterable[Mapping[str, Any]], now_ms: int | None = None
    ) -> Acknowledgement:
        """Stores events. Requests that begin later read them.

        A row has an ``event`` (``karec.aggregates.events``) and the values that it needs: ``user_id``,
        ``item_id`` and ``creator_id`` as the platform's ids, names of ``labels`` and ``scene``, ``play_ms``,
        ``position``, ``request_id``, ``time_ms`` (default: ``now_ms``), ``columns`` by name of an upload or
        an edit, ``text`` of a search, the ``item_type`` of an item other than a work, and ``event_id``, a
        UUID: an event that is sent again with its id
        counts once. ``now_ms``: the present; None: by the clock.

        The result counts the rows that are not events by reason. Raises Unavailable if the events cannot be
        stored; send them again with their ids. Raises ValueError if this is closed or has no online store.
        """
        ingestion = self._version().ingestion
        if ingestion is None:
            raise ValueError(
                'there is no online store: add online = { url = "sqlite:online.db" } to karec.toml'
            )
        return ingestion.record(events, now_ms)

    def add_refreshed(self) -> None:
        """Adds the vectors that a refresh of the library wrote since the last call. A thread calls it twice a
        second."""
        version = self._serving
        if version is not None:
            with _short_switch_interval():
                self._add_refreshed(version)

    def reload(self) -> bool:
        """Opens and serves the current configuration and bundle. Returns False if they are in service.

        The new version must serve the newest requests of each scene that got items, without those that name
        items or a condition: the new version may lack these. Returns after the last
        request of the replaced version.

        A swap is an INFO of the logger ``karec.bundle``, with both versions and the time.

        Raises ConfigError, BundleError, or an exception of a step's ``__init__`` if the new version is
        refused; then the previous version stays in service. Raises ValueError if this is closed.
        """
        with self._reloading:
            self._close_leaving()  # of a reload that was interrupted
            if self._read_identity() == self._version().identity:
                return False
            with _short_switch_interval():
                try:
                    self._replace_version()
                except Exception as error:
                    _clear_frames(error)
                    self._reloads = replace(
                        self._reloads, refused=self._reloads.refused + 1, reason=one_line(str(error))
                    )
                    raise
                self._reloads = replace(self._reloads, done=self._reloads.done + 1)
                self._close_leaving()
                _return_freed_memory()
            return True

    def close(self) -> tuple[SideEffectCounts, ...]:
        """Waits for the last requests and their side effects and frees all. Returns counts by side effect.

        Later requests are refused. A second call returns ().
        """
        if self._watcher is not None:
            self._watcher.stop()
        self._poller.stop()
        with self._reloading:
            self._close_leaving()
            if self._serving is None:
                return ()
            ingestion = self._serving.ingestion
            self._leaving, self._serving = self._serving, None
            self._served.clear()
            counts = self._close_leaving()
            if ingestion is not None:
                ingestion.close()
            return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _version(self) -> Version:
        version = self._serving
        if version is None:
            raise ValueError("this HotSwap is closed")
        return version

    def _begin_request(self) -> Version:
        """Returns the version in service, with one more running request."""
        while True:
            version = self._version()
            version.running.begin()
            if version is self._serving:
                return version
            version.running.end()  # it was replaced meanwhile, and may be closed already

    def _replace_version(self) -> None:
        start_s = time.monotonic()
        old = self._version()
        new = self._open_version(old)
        try:
            self._add_refreshed(new)
            served = {scene: list(requests) for scene, requests in list(self._served.items())}
            check_served_requests(new, served, old)
        except BaseException:
            if new.ingestion is not None and new.ingestion is not old.ingestion:
                new.ingestion.close()
            raise
        for scene, cascade in new.cascades.items():
            old_cascade = old.cascades.get(scene)
            if old_cascade is None:
                continue
            if old_cascade.exposure is not None and cascade.exposure is not None:
                old_cascade.exposure.transfer_to(cascade.exposure)
            cascade.run_times.copy_from(old_cascade.run_times)
        self._serving = new
        self._leaving = old
        _follow_events(new)
        seconds = time.monotonic() - start_s
        _log.info("bundle %s is in service after %.1f s, in place of %s", new.name, seconds, old.name)

    def _close_leaving(self) -> tuple[SideEffectCounts, ...]:
        """Waits for the last request of the replaced version and closes its side effects."""
        replaced = self._leaving
        if replaced is None:
            return ()
        replaced.running.wait_for_end()
        closed_counts = [
            (cascade.scene, counts) for cascade in replaced.cascades.values() for counts in cascade.close()
        ]
        self._leaving = None
        sums = dict(self._closed_side_effects)
        for scene, counts in closed_counts:
            key = scene, counts.name
            sums[key] = sums[key].plus(counts) if key in sums else counts
        self._closed_side_effects = sums
        return tuple(counts for _, counts in closed_counts)


def _follow_events(version: Version) -> None:
    if version.ingestion is not None and version.online is not None:
        version.ingestion.follow(version.online)


@contextlib.contextmanager
def _short_switch_interval() -> Iterator[None]:
    """Lowers Python's switch interval to ``SWITCH_INTERVAL_S`` within the block.

    A request releases the lock at each kernel: with Python's 5 ms it would wait some hundred times for the
    thread that opens a version.
    """
    with _switch_lock:
        _switch_intervals.append(sys.getswitchinterval())
        if _switch_intervals[-1] > SWITCH_INTERVAL_S:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        with _switch_lock:
            original = _switch_intervals[0]
            _switch_intervals.pop()
            if not _switch_intervals:
                sys.setswitchinterval(original + 5e-7)  # Python cuts it to whole microseconds


_switch_lock = Lock()
_switch_intervals: list[float] = []  # the interval before each block that runs


def _return_freed_memory() -> None:
    """Returns freed memory to the system. glibc would keep most of it for later allocations."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _clear_frames(error: BaseException | None) -> None:
    """Frees the objects in the frames of a refused reload. A caller may keep the error."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
