"""What happened since a base, kept up with and read by requests: the log is followed into the store and into
works."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

from karec.aggregates.events import Events
from karec.aggregates.located_events import FOLDED
from karec.errors import KarecError, Unavailable, one_line
from karec.online.apply_events import AT_ONCE, EventApplier
from karec.online.changed_items import Changed, ChangedItems
from karec.online.event_log.tail import Cursor, EventTail
from karec.online.items_since import ItemsSince, KnownWorks
from karec.online.lifecycle import ItemLifecycle, of_lives
from karec.online.read_state import StateReader
from karec.online.recovery import can_be_rebuilt, lacks_events, rebuild
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.store import Conflict, StateStore
from karec.online.view import OnlineView
from karec.pipeline.deadline import Deadline

MOST_WAITING = 50  # batches that the store has not taken yet; the log keeps what follows
COUNTERS_AT_ONCE = 10_000  # works
NOT_BEGUN = "the state store could not be read yet"

_log = logging.getLogger("karec.live")

Known = tuple[KnownWorks, Cursor]
"""What became of works, and how far of the log it is."""
Take = Callable[[ChangedItems, Changed], None]
"""Puts works into what requests search, and hides others."""


class Follower:
    """What happened since the base of ``folded``. One thread follows at a time; any number look and take
    views.

    ``follow`` reads the log, lets uploads, edits, deletions and blocks act, and folds the rest into
    ``store``, where other processes may do the same: each event counts once, whoever folds it. ``known``:
    what another base's knows; it begins there. ``view`` costs one read of the store, at most ``deadline_ms``
    and on another thread, or on the caller's where None: a store in this machine's memory or files needs no
    other. The user's side is as of that read, the works' side as of the last batch that was followed.
    """

    def __init__(
        self,
        store: StateStore,
        folded: StoreContents,
        log: Path,
        since: ItemsSince,
        take: Take,
        deadline_ms: float | None,
        known: Known | None = None,
    ) -> None:
        self._store, self._folded, self._log = store, folded, log
        self._since, self._take, self._known = since, take, known
        self._deadline = None if deadline_ms is None else Deadline("the state store", deadline_ms)
        self._works = ChangedItems.none(folded.base, len(folded.counters))
        self._reader: StateReader | None = None
        self._waiting: deque[tuple[Events, Cursor]] = deque()
        self._counted: Counter[str] = Counter()
        self._behind: str | None = None  # why the store has not taken what happened
        self._looking = Lock()  # the tail, what is since the base, the index
        self._moving = Lock()  # ``_works``, which a look and a fold both replace

    @property
    def counts(self) -> Counter[str]:
        """What became of events so far: of ``EventApplier.counts`` and ``ItemsSince.counts``."""
        writers = Counter() if self._reader is None else self._writer.counts + self._reader.counts
        return writers + self._counted + self._since.counts

    @property
    def begun(self) -> bool:
        """Whether the store was read: before that nothing is known of what became of works."""
        return self._reader is not None

    @property
    def works(self) -> ChangedItems:
        """Works as of the last batch that was followed."""
        return self._works

    def behind(self) -> tuple[int, int]:
        """(how many events of the log were seen and are not in the store, when the oldest was appended, Unix
        ms, 0 for none). At least so many: where 50 batches wait, the log may have more.
        """
        waiting = [events for events, _ in list(self._waiting)]
        oldest = min((int(events.logged_ms.min()) for events in waiting if len(events)), default=0)
        return sum(map(len, waiting)), oldest

    def known(self) -> Known | None:
        """For another base on this log and store, which then reads no entry of a work again; None: not
        begun."""
        with self._looking:
            return (self._since.known(), self._tail.cursor) if self.begun else None

    def view(self, user: int) -> tuple[OnlineView, str | None]:
        """What is known of ``user`` and of works, and why it is less than it should be: the store did not
        answer, or did not take the newest events.
        """
        reader, works = self._reader, self._works
        nobody = OnlineView(None, works, self._folded.counters)
        if reader is None:
            return nobody, NOT_BEGUN
        try:
            state = self._deadline.begin(lambda: reader.user(user))() if self._deadline else reader.user(user)
        except Unavailable as error:
            self._counted["reads that failed"] += 1
            return nobody, str(error)
        return OnlineView(state, works, self._folded.counters), self._behind

    def follow(self) -> int:
        """Takes what the log has, and returns how many events the store took. Unavailable: the rest waits for
        it."""
        try:
            n = self._follow()
        except Exception as error:
            self._behind = str(error)
            raise
        self._behind = None
        return n

    def _follow(self) -> int:
        if self._reader is None:
            self._begin()
        self.look()
        n = 0
        while self._waiting:
            events, cursor = self._waiting[0]
            self._fold(events, cursor)
            self._waiting.popleft()
            n += len(events)
        return n

    def look(self) -> None:
        """Takes what the log has, and lets uploads, edits, deletions and blocks act; the store is not
        asked."""
        with self._looking:
            while (
                self._reader and len(self._waiting) < MOST_WAITING and len(events := self._tail.poll(AT_ONCE))
            ):
                self._waiting.append((events, self._tail.cursor))
                self._let_live(events)

    def _begin(self) -> None:
        """Reads what the store knows of works, once it is up with the log."""
        self._rebuild_where_events_lack()
        self._writer, self._tail = self._caught_up(Counter())
        reader = StateReader(self._store, self._folded)
        if self._known is None:
            known = KnownWorks.of(ItemLifecycle.all_of(self._store, self._counted), self._folded.base)
        else:  # what the store has since then comes once more, and changes nothing twice
            known, cursor = self._known
            self._tail = EventTail(self._log, cursor)
        self._take_over(self._since.begin(known))
        letter = records.WORK_COUNTERS
        keys = [key for key, _ in self._store.scan(letter, bytes([letter[0] + 1]))]
        ids = np.array(sorted(map(records.id_of, keys)), np.int64)
        for begin in range(0, len(ids), COUNTERS_AT_ONCE):
            some = ids[begin : begin + COUNTERS_AT_ONCE]
            self._works = self._works.with_counters(some, reader.works(some))
        reader.user(-1).was_shown(ids[:1])  # compiled here, so that no request waits for it
        self._reader, self._known = reader, None

    def _rebuild_where_events_lack(self) -> None:
        """An older bundle was restored: the store is made again from the log. Once, and not after each
        Conflict: processes may serve the later bundle still.
        """
        if not lacks_events(self._store, self._folded.base):
            return
        if not can_be_rebuilt(self._store, self._log):
            _log.warning(
                "the state store lacks events of the time after the bundle's, and their hours were retired"
            )
            return
        _log.warning(
            "the state store lacks events of the time after the bundle's, and is made again from the log"
        )
        try:
            rebuild(self._store, self._folded, self._log)
        except Conflict:
            _log.warning(
                "the state store lacks events still: other processes write to it; begin this one anew later"
            )

    def _caught_up(self, counts: Counter[str]) -> tuple[EventApplier, EventTail]:
        """A writer that took all that the store lacked of the log. Unavailable: the store took a part of it,
        and no writer goes on from there but one that begins at the store's cursor.
        """
        while True:
            writer = EventApplier(self._store, self._folded, counts)
            tail = EventTail(self._log, writer.cursor)
            try:
                while writer.follow(tail):
                    pass
            except Conflict:  # another process was quicker, and went on from there
                continue
            return writer, tail

    def _fold(self, events: Events, cursor: Cursor) -> None:
        if not self._writer.cursor.covers(cursor):
            try:
                self._writer.apply(events, cursor.joined(self._writer.cursor))
            except Conflict:  # of another process, or the store came back with older contents
                self._writer, _ = self._caught_up(self._writer.counts)
        moved = np.unique(events.item_id[np.isin(events.kind, FOLDED) & (events.item_id >= 0)])
        if len(moved) and self._reader is not None:
            counters = self._reader.works(moved)
            with self._moving:
                self._works = self._works.with_counters(moved, counters)

    def _let_live(self, events: Events) -> None:
        """Uploads, edits, deletions and blocks act before the store has them; they may come again."""
        lives = of_lives(events)
        if len(lives):
            self._take_over(self._since.step(self._since.lives.step(lives, Counter())))

    def _take_over(self, changed: Changed) -> None:
        with self._moving:  # a request pins the index first: it finds no work that is not here
            self._works = self._since.over(self._works)
        self._put(changed)

    def put_edited_again(self) -> None:
        """Puts the works of the base that were edited into the index anew: others may have written the base's
        vectors. O(these).
        """
        with self._looking:
            changed = self._since.edited()
            if len(changed.rows):
                self._put(changed)

    def _put(self, changed: Changed) -> None:
        try:
            self._take(self._works, changed)
        except (KarecError, ValueError) as error:  # of a tower or an index: what was there serves on
            self._counted["works that could not be put in"] += len(changed.rows)
            _log.warning("%s", one_line(f"{len(changed.rows)} works could not be put in: {error}"))
