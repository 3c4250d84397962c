"""Between requests: what a host reports goes into the event log, and from there to the next request."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np

from karec._giving_way import GivingWay, Running, give_way
from karec.aggregates.events import Events, Head
from karec.bundle import Bundle
from karec.catalog import schema
from karec.catalog.schema import CREATOR, SONG
from karec.catalog.snapshot import Snapshot
from karec.config.live_settings import LiveSettings
from karec.errors import Unavailable, one_line
from karec.index import IdMap
from karec.online.event_log.append import EventLogWriter
from karec.online.event_log.head import begin_log, is_event_log, read_head
from karec.online.follow import Follower
from karec.online.items_since import ItemsSince, Refuse
from karec.online.lifecycle import ID
from karec.online.poll import Poller
from karec.online.reported import UNWRITTEN, Acknowledged, EventParser, exposed_of
from karec.online.store.contents import StoreContents
from karec.online.store.reopen import ReopeningStore
from karec.pipeline.deadline import Deadline
from karec.refresh.uploads import Uploads

LOOK_S = 0.1  # so often the log is looked at for what other processes appended
GIVE_S = 0.05  # so long a look waits for requests to end before it begins beside them
MAPS = {CREATOR: "creators", SONG: "songs"}  # columns whose texts have maps of ids

_log = logging.getLogger("karec.live")


@dataclass(frozen=True, eq=False)
class Since:
    """What happened since one bundle was made, and how reports become events for it."""

    live: Follower
    happenings: EventParser


class Nearline:
    """One log and one store for all bundles that a process serves in turn.

    ``record`` and the thread that looks at the log take turns by a lock; requests never wait for either.
    Where the store is on a server, ``record`` waits ``deadline_ms`` for it at most; what it holds up waits in
    the log.
    """

    def __init__(self, settings: LiveSettings, folder: Path, snapshot: Snapshot) -> None:
        self.settings, self._events = settings, folder / settings.events
        self._refuse = _hard_rules(None if settings.screen is None else folder / settings.screen)
        self._head = open_log(self._events, snapshot)
        self._store = ReopeningStore(settings.address(folder))
        self._writer: EventLogWriter | None = None
        self._since: Since | None = None
        self._running = Running()  # the requests of whom this serves
        self._writing, self._following = Lock(), Lock()
        self._deadline = Deadline("the state store", settings.deadline_ms) if settings.on_a_server else None
        self._why = ""
        self._poller = Poller(self, Nearline.look, LOOK_S, "karec-follow")

    def of(self, bundle: Bundle) -> Since:
        """What happened since ``bundle`` was made. DataError: the store is of other labels or scenes. One
        that cannot be read is waited for; Unavailable where another bundle serves with what it said: blocked
        works would be back.
        """
        since = ItemsSince(bundle.snapshot, Numbers.of(bundle), self._refuse)
        folded = StoreContents(bundle.snapshot, self._head)
        deadline_ms = self.settings.deadline_ms if self.settings.on_a_server else None
        former = self._since
        known = None if former is None else former.live.copy_state()
        live = Follower(self._store, folded, self._events, since, Uploads(bundle).take, deadline_ms, known)
        with self._following:
            try:
                live.follow()
            except (Unavailable, OSError) as error:
                self._failed(error)
                if not live.is_ready and self._since is not None and self._since.live.is_ready:
                    raise Unavailable(f"the state store cannot say what became of works: {error}") from error
        return Since(live, EventParser(bundle, self._head))

    def serve(self, since: Since, running: Running) -> None:
        """From now on ``record`` and the thread keep up with the log for ``since``; the thread gives way to
        the requests of ``running``.
        """
        with self._following:
            self._since, self._running = since, running
            self._follow(since.live)
        self._poller.start()

    def record(self, happened: Events | Iterable[Mapping[str, Any]], now_ms: int | None) -> Acknowledged:
        since = self._in_service()
        if now_ms is not None and not isinstance(now_ms, int | np.integer):
            raise ValueError(f"now_ms is {now_ms!r}, expected Unix milliseconds, a whole number")
        moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        if isinstance(happened, Events):
            events, refused = happened, Counter[str]()
        else:
            events, refused = since.happenings.events(happened, moment)
        with self._writing:
            self._in_service()
            try:
                if self._writer is None:
                    self._writer = EventLogWriter(self._events, self._head)
                told = self._writer.append(events, now_ms)
            except OSError as error:
                _log.warning("%s", one_line(f"{self._events}: events are not in the log: {error}"))
                return Acknowledged(0, {**refused, UNWRITTEN: len(events)}, str(error))
        logged = replace(events, logged_ms=np.full(len(events), moment, np.int64))
        exposed = exposed_of(logged, self._head, not told.refused)
        return Acknowledged(told.events, dict(refused + Counter(told.refused)), self._why_waiting(), exposed)

    def put_edited_again(self, since: Since) -> None:
        """After a refresh: works that were edited have the vectors of their edit, and not the refreshed
        ones."""
        since.live.reapply_edits()

    def close(self) -> None:
        """Seals what was written, and lets the store go. Twice does nothing."""
        self._poller.stop()
        with self._writing, self._following:
            if self._writer is not None:
                self._writer.close()
            self._writer = self._since = None
            self._store.close()

    def _in_service(self) -> Since:
        if self._since is None:
            raise ValueError("this LiveCascade is closed")
        return self._since

    def _why_waiting(self) -> str | None:
        """Follows after an append; why the store has not taken all of it, None where it has."""
        if self._deadline is None:
            return self._taken()
        try:
            self._in_service().live.poll()  # needs no store
        except Exception as error:  # as in _follow
            self._failed(error)
        try:
            return self._deadline.begin(self._taken)()
        except Unavailable as error:
            return str(error)

    def _taken(self) -> str | None:
        with self._following:
            self._follow(self._in_service().live, again=False)
            return self._why or None

    def _follow(self, live: Follower, again: bool = True) -> None:
        """``again``: a store that failed the last time is asked again, which may take as long as its
        timeouts."""
        try:
            if self._why and not again:
                live.poll()
                return
            live.follow()
        # the log keeps it, and the thread that looks at it outlives whatever is told
        except Exception as error:
            self._failed(error)
        else:
            self._why = ""

    def _failed(self, error: Exception) -> None:
        if str(error) != self._why:
            _log.warning("%s", one_line(f"what happens is in the log and waits for the state store: {error}"))
        self._why = str(error)

    def look(self) -> None:
        """What other processes appended to the log is taken."""
        with GivingWay(self._running, GIVE_S):
            give_way()
            with self._following:
                if self._since is not None:
                    self._follow(self._since.live)


def open_log(folder: Path, snapshot: Snapshot) -> Head:
    """The head of the log in ``folder``, which is made where there is none."""
    if not is_event_log(folder):
        begin_log(folder, head_of(snapshot))
    return read_head(folder)


def head_of(snapshot: Snapshot) -> Head:
    """Of a new log: the labels that the platform counts or reads a meaning from, and its scenes."""
    meaning = snapshot.meaning
    columns = [*snapshot.users.columns, *snapshot.works.columns, *(snapshot.user_scene_counters or ())]
    counted = [name.removeprefix(schema.counter("")) for name in columns if schema.is_counter(name)]
    labels = dict.fromkeys((*meaning.enjoyed, *meaning.liked, *meaning.followed, *counted))
    labels.pop(schema.EXPOSED.removeprefix(schema.counter("")), None)
    return Head(tuple(labels), tuple(snapshot.labels.get("scene", ())))


@dataclass(frozen=True)
class Numbers:
    """Texts of ``columns`` have numbers, by ``maps`` of one bundle; another bundle's give a text the same
    number."""

    columns: Mapping[str, tuple[str, int]]  # kind and seed of the map of each
    maps: Mapping[str, IdMap] = field(compare=False, repr=False)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Texts of creators and songs, where the bundle has a map of them."""
        paths = {column: bundle.path / "ids" / f"{name}.karec" for column, name in MAPS.items()}
        maps = {column: IdMap.open(path, verify=False) for column, path in paths.items() if path.exists()}
        return cls({column: (each.kind, each.seed) for column, each in maps.items()}, maps)

    def __call__(self, column: str, text: str) -> int:
        try:
            return int(self.maps[column].numbers([text])[0]) if column in self.maps else -1
        except ValueError:
            return -1


def _hard_rules(path: Path | None) -> Refuse:
    """Why an upload is not taken, by the rules of a screen.toml."""
    if path is None:
        return lambda columns, number: ""
    from karec.screening.upload_rules import UploadRules

    rules = UploadRules(path)
    work = rules.settings.columns.work

    def refuse(columns: Mapping[str, Any], number: int) -> str:
        creator = columns.get("creator", columns.get(CREATOR))
        why = rules.broken_by({**columns, CREATOR: creator, work: columns.get(ID, number)})
        return f"screened: {why}" if why else ""

    return refuse
