"""What a refresh of the library makes, in the index that serves: a thread looks for shards, and no request waits."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Protocol

from karec.bundle import Bundle
from karec.errors import one_line
from karec.refresh.following import LibraryFollower

LOOK_S = 0.5  # so often the library's folder is looked at

_log = logging.getLogger("karec.live")


class Refreshable(Protocol):
    def follow_refresh(self) -> None: ...


class Refreshed:
    """Adds the shards of whichever bundle it is asked for. Any thread; one at a time works, others wait."""

    def __init__(self) -> None:
        self._follower, self._adding = LibraryFollower(), Lock()
        self._why = ""
        self._ended = Event()
        self._thread: Thread | None = None

    def begin(self, live: Refreshable) -> None:
        """From now on a thread calls ``live.follow_refresh`` every LOOK_S; it does not keep ``live``."""
        self._thread = Thread(target=_look, args=(weakref.ref(live), self._ended), name="karec-refreshed", daemon=True)
        self._thread.start()

    def catch_up(self, bundle: Bundle, added: Callable[[], None]) -> None:
        """Adds the shards that came; ``added`` is called where there were some. One that is damaged is a warning, once,
        and tried again at the next call: what served serves on.
        """
        with self._adding:
            before = self._follower.works
            try:
                try:
                    self._follower.catch_up(bundle)
                finally:  # shards before one that is damaged are in the index too
                    if self._follower.works != before:
                        added()
            except Exception as error:  # of a shard, a tower, the disk: the thread that looks outlives it
                if str(error) != self._why:
                    _log.warning("%s", one_line(f"refreshed vectors are not taken: {error}"))
                self._why = str(error)
            else:
                self._why = ""

    def stop(self) -> None:
        """Wait until the thread has ended."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()


def _look(live: weakref.ref[Refreshable], ended: Event) -> None:
    while not ended.wait(LOOK_S):
        found = live()
        if found is None:
            return
        found.follow_refresh()
        del found  # it is not kept while the thread waits
