"""A cascade that takes another bundle, or another ``karec.toml``, while it serves."""

from __future__ import annotations

import traceback
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import TIMEOUT_MAX, Event, Lock
from typing import TYPE_CHECKING, Any, Self

from karec._giving_way import GivingWay, Running, give_way
from karec._memory import give_back_freed
from karec.config.assemble import Cascade
from karec.config.live_version import Version, named_by, open_version, replay_answered
from karec.config.refreshed import LOOK_S, Refreshed
from karec.config.watching import Watcher
from karec.errors import one_line
from karec.online.poll import Poller
from karec.pipeline.side_effects import SideEffectCounts
from karec.pipeline.types import Page, Request

if TYPE_CHECKING:  # a cascade without a table ``live`` loads no compiler of folds
    from karec.aggregates.events import Events
    from karec.config.nearline import Nearline
    from karec.online.reported import Acknowledged

KEPT_REQUESTS = 4  # of each scene, the last that were answered with works: a new version replays them


@dataclass(frozen=True)
class Reloads:
    """How often another version came into service, how often one was refused, and why the last time."""

    done: int = 0
    refused: int = 0
    why: str = ""


@dataclass(frozen=True)
class _Leaving:
    """The cascades of a version that is out of service; ``ended`` is set when its last request has its
    answer."""

    cascades: tuple[Cascade, ...]
    ended: Event

    @classmethod
    def of(cls, version: Version) -> Self:
        ended = Event()
        weakref.finalize(version, ended.set).atexit = False
        return cls(tuple(version.cascades.values()), ended)


class LiveCascade:
    """The request path of one scene, or of all, of a ``karec.toml``: as ``Cascade``, with ``reload()`` and a
    watcher.

    Threads    ``run`` from any thread; it takes no lock for the swap, and a reload never waits in its way. A
               request ends on the version that it began with: bundle, steps, settings. ``reload`` and
               ``close`` from any thread that does not run a request, a step or an observer: they wait for
               those. One at a time, others wait.
    Memory     At most two versions: the one in service, and one that is being opened or whose last requests
               run. Another reload waits until it is gone. Who keeps ``cascades`` or a bundle keeps its
               memory.
    Observers  Of a version that is out of service: they see its last answers, write what they hold back, and
               are closed, before ``reload`` returns.
    Exposure   With a ``state`` file a new version reads it. Without, the ledger is handed over in memory, and
               what the old version still shows is counted in the new one.
    Index      What was upserted, adjusted or blocked in a bundle's index, or said by ``Kind.show_only``,
               stays where ``karec.toml`` alone has changed. Another bundle has an index of its own: apply it
               there again.
    Library    What ``karec refresh`` writes is in the index within a second: a thread of its own adds it, and
               a running request keeps the generation that it reads. Another bundle has what was refreshed of
               it from the start.
    State      Where the file has a table ``live``, what ``record`` is told is in the log, and in the next
               request. Another bundle begins from the same log and store. ``degraded`` says ``request.state``
               where the store did not answer.
    Deadlines  A new version begins with what its steps usually took in the one before.
    Fork       A child of ``os.fork`` makes a LiveCascade of its own.
    """

    def __init__(
        self, path: Path, scene: str | None, version: Version, nearline: Nearline | None = None
    ) -> None:
        self._path, self._scene, self._nearline = path, scene, nearline
        self._serving: Version | None = version
        self._leaving: _Leaving | None = None
        self._observed_before: Mapping[tuple[str, str], SideEffectCounts] = {}
        self._reloading = Lock()
        self._running = Running()
        self._reloads = Reloads()
        self._answered: defaultdict[str, deque[Request]] = defaultdict(lambda: deque(maxlen=KEPT_REQUESTS))
        self._watcher: Watcher | None = None
        self._refreshed = Refreshed()
        self._poller = Poller(self, LiveCascade.follow_refresh, LOOK_S, "karec-refreshed")

    @classmethod
    def from_config(
        cls, path: str | Path, scene: str | None = "home", *, watch_seconds: float | None = None
    ) -> LiveCascade:
        """The cascade of ``scene``; None: of every scene of the file, on one bundle, and each request names
        its own.

        ``watch_seconds``: a thread looks so often whether ``path`` or ``current`` names something else, and
        reloads; None: none does. What it was refused is tried again after 2, 4, 8 … 64 looks. Raises what
        ``Cascade.from_config`` raises.
        """
        if watch_seconds is not None and not 0 < watch_seconds <= TIMEOUT_MAX:
            raise ValueError(
                f"watch_seconds = {watch_seconds}, expected a time above 0, or None for no watcher"
            )
        path = Path(path).absolute()
        version, nearline = open_version(path, scene)
        live = cls(path, scene, version, nearline)
        live._add_refreshed(version, nearline)
        live._keep_up(version)
        live._poller.start()
        if watch_seconds is not None:
            live._watcher = Watcher(live, path, watch_seconds)
        return live

    @property
    def cascades(self) -> Mapping[str, Cascade]:
        """{scene: cascade} of the version in service, for a look: its observers are closed once it is
        replaced."""
        return self._in_service(self._serving).cascades

    @property
    def reloads(self) -> Reloads:
        """What became of the reloads so far."""
        return self._reloads

    @property
    def observed_before(self) -> Mapping[tuple[str, str], SideEffectCounts]:
        """{(scene, observer): what it did in versions that are gone}. Read before ``cascades``, nothing is in
        both."""
        return self._observed_before

    def run(self, request: Request) -> Page:
        """As ``Cascade.run``, of the request's scene. ValueError: no such scene is served, or this is
        closed."""
        version = self._serving
        try:
            cascades = self._in_service(version).cascades
            if request.scene not in cascades:
                raise ValueError(
                    f"the request asks for the scene {request.scene!r}; served are {sorted(cascades)}"
                )
            with self._running:
                answer = cascades[request.scene].run(request)
        finally:
            del version  # whoever keeps the traceback would keep the version in service
        if len(answer.candidates):
            self._answered[request.scene].append(request)
        return answer

    def record(
        self, happened: Events | Iterable[Mapping[str, Any]], now_ms: int | None = None
    ) -> Acknowledged:
        """Put what happened into the event log, and into what the next request knows, before this returns.

        Rows have a ``kind`` (``karec.aggregates.events``) and what the kind needs: ``user``, ``work``
        and ``creator`` as the platform has them, ``labels`` by name, ``scene`` by name, ``play_ms``,
        ``position``, ``request_id``, ``time_ms`` (now, unless told), of an upload or an edit the work's
        ``columns`` by name, ``text`` of a search, and an ``id``, a UUID, with which it may be told again and
        counts once. ``now_ms``: the present, in place of the clock.

        What is no event is counted by reason, in the answer. ValueError: this is closed, or karec.toml has no
        table ``live``.
        """
        self._in_service(self._serving)
        if self._nearline is None:
            raise ValueError(f'{self._path} names no log: add [live] state = "state", events = "events"')
        return self._nearline.record(happened, now_ms)

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of the events that this version has followed, by reason; empty without a table
        ``live``."""
        since = self._in_service(self._serving).since
        return {} if since is None else +since.live.counts

    def follow_refresh(self) -> None:
        """Add what a refresh of the library wrote since the last look. A thread does so twice a second."""
        version = self._serving
        if version is not None:
            with GivingWay(self._running):
                self._add_refreshed(version, self._nearline)

    def reload(self) -> bool:
        """Serve what ``karec.toml`` and ``current`` name now, and whether that is another than before.

        The file is read anew, all of it. The bundle is opened and verified as ``Bundle.open`` says, the
        cascades are built beside those in service, and the last four requests of each scene that were
        answered with works run on them. Then one assignment puts them into service. This returns when the old
        version is gone.

        Raises why the new one is refused: ConfigError, BundleError, or what a step's ``__init__`` raises.
        Then the old one serves on. ValueError: this is closed.
        """
        with self._reloading:
            self._see_off()  # where a reload was interrupted
            if named_by(self._path) == self._in_service(self._serving).named:
                return False
            with GivingWay(self._running):
                try:
                    self._put_into_service()
                except Exception as error:
                    _forget_frames(error)
                    self._reloads = replace(
                        self._reloads, refused=self._reloads.refused + 1, why=one_line(str(error))
                    )
                    raise
                self._reloads = replace(self._reloads, done=self._reloads.done + 1)
                self._see_off()
                give_way()
                give_back_freed()
            return True

    def close(self) -> tuple[SideEffectCounts, ...]:
        """End the watcher, wait for the last requests and their observers, and free all; what each observer
        did.

        Requests are refused from here on. Again it does nothing, and returns ().
        """
        if self._watcher is not None:
            self._watcher.stop()
        self._poller.stop()
        with self._reloading:
            self._see_off()
            if self._serving is not None:
                self._leaving, self._serving = _Leaving.of(self._serving), None
            self._answered.clear()
            counts = self._see_off()
            if self._nearline is not None:
                self._nearline.close()
            return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _in_service(version: Version | None) -> Version:
        if version is None:
            raise ValueError("this LiveCascade is closed")
        return version

    def _put_into_service(self) -> None:
        old = self._in_service(self._serving)
        new, nearline = open_version(self._path, self._scene, self._nearline, beside=True)
        try:
            self._add_refreshed(new, nearline)
            answered = {each: list(requests) for each, requests in list(self._answered.items())}
            replay_answered(new, answered, old)
        except BaseException:
            if nearline is not self._nearline and nearline is not None:
                nearline.close()
            raise
        for scene, cascade in new.cascades.items():
            before = old.cascades.get(scene)
            if before is not None and before.exposure is not None and cascade.exposure is not None:
                before.exposure.hand_over(cascade.exposure)
            if before is not None:
                cascade.usual.begin_from(before.usual)
        leaving = _Leaving.of(old)
        self._nearline, self._serving = nearline, new
        self._leaving = leaving
        self._keep_up(new)

    def _add_refreshed(self, version: Version, nearline: Nearline | None) -> None:
        since = version.since
        again = (
            (lambda: None) if since is None or nearline is None else partial(nearline.put_edited_again, since)
        )
        self._refreshed.catch_up(version.bundle, again)

    def _keep_up(self, version: Version) -> None:
        if self._nearline is not None and version.since is not None:
            self._nearline.serve(version.since, self._running)

    def _see_off(self) -> tuple[SideEffectCounts, ...]:
        """Wait until nobody serves with what is out of service, and its observers are closed; then it is
        freed."""
        if self._leaving is None:
            return ()
        self._leaving.ended.wait()
        give_way()
        ended = [(cascade.scene, counts) for cascade in self._leaving.cascades for counts in cascade.close()]
        self._leaving, before = None, dict(self._observed_before)
        for scene, counts in ended:
            key = scene, counts.name
            before[key] = before[key].plus(counts) if key in before else counts
        self._observed_before = before
        return tuple(counts for _, counts in ended)


def _forget_frames(error: BaseException | None) -> None:
    """What was refused is freed though somebody keeps the error."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
