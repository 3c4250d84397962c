"""A thread that looks from time to time whether ``karec.toml`` or ``current`` names something else, and
reloads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Protocol

from karec.config.live_version import named_by
from karec.errors import one_line
from karec.online.poll import Poller

MOST_LOOKS = 64  # what was refused is tried again that late at most

_log = logging.getLogger("karec.live")


class Reloadable(Protocol):
    def reload(self) -> bool: ...


class Watcher:
    """Looks every ``seconds``. What was refused is tried again after 2, 4, 8 … 64 looks, anything else at
    once.

    It does not keep ``live``, and ends when ``live`` is gone. ``wait(seconds)`` gives True when the watcher
    is to end; None: by the clock, until ``stop``. A refusal is a warning of the logger ``karec.live``.
    """

    def __init__(
        self, live: Reloadable, path: Path, seconds: float, wait: Callable[[float], bool | None] | None = None
    ) -> None:
        self._path = path
        self._refused: Hashable = None
        # in looks: between two tries of what was refused, and until the next one
        self._pause = self._left = 0
        self._poller = Poller(live, self._look, seconds, "karec-watch", wait)
        self._poller.start()

    def stop(self) -> None:
        """Wait until the thread has ended; a reload that has begun ends first."""
        self._poller.stop()

    def _look(self, live: Reloadable) -> None:
        named = named_by(self._path)
        again = named == self._refused
        if again and self._left > 1:
            self._left -= 1
            return
        try:
            live.reload()
        except Exception as error:  # the thread outlives whatever a bundle or a step does
            self._pause = min(2 * self._pause, MOST_LOOKS) if again else 2
            self._refused, self._left = named, self._pause
            _log.warning("%s", one_line(f"{self._path} is not reloaded, what served serves on: {error}"))
        else:
            self._refused = None
