"""What a refresh of the library makes, in the index that serves; no request waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from karec.bundle import Bundle
from karec.errors import one_line
from karec.refresh.follow import LibraryFollower

LOOK_S = 0.5  # so often a live cascade looks at the library's folder

_log = logging.getLogger("karec.live")


class Refreshed:
    """Adds the shards of whichever bundle it is asked for. Any thread; one at a time works, others wait."""

    def __init__(self) -> None:
        self._follower, self._adding = LibraryFollower(), Lock()
        self._why = ""

    def catch_up(self, bundle: Bundle, added: Callable[[], None]) -> None:
        """Adds the shards that came; ``added`` is called where there were some. One that is damaged is a
        warning, once, and tried again at the next call: what served serves on.
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
