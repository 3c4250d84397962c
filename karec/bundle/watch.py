"""Reloads on a thread when the configuration or the current bundle changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Protocol

from karec.errors import one_line
from karec.online.poll import Poller

MAX_POLLS = 64  # polls between two attempts at a refused version

_log = logging.getLogger("karec.bundle")


class Reloadable(Protocol):
    def reload(self) -> bool: ...


class Watcher:
    """Polls ``read_identity()`` every ``seconds`` and calls ``target.reload()``.

    A refused version is tried again after 2, 4, 8 … 64 polls, any other one at once. The watcher keeps no
    reference to ``target`` and ends with it. ``wait(seconds)`` returns True if the watcher must end; the
    default waits for ``stop``. The first refusal of a version is a warning of the logger ``karec.bundle``.
    """

    def __init__(
        self,
        target: Reloadable,
        read_identity: Callable[[], Hashable],
        seconds: float,
        wait: Callable[[float], bool | None] | None = None,
    ) -> None:
        self._read_identity = read_identity
        self._refused: Hashable = None
        self._pause = 0  # in polls, between two attempts at the refused version
        self._n_left = 0  # polls until the next attempt
        self._poller = Poller(target, self._poll, seconds, "karec-watch", wait)
        self._poller.start()

    def stop(self) -> None:
        """Waits until the thread has ended; a running reload ends first."""
        self._poller.stop()

    def _poll(self, target: Reloadable) -> None:
        identity = self._read_identity()
        is_refused = identity == self._refused
        if is_refused and self._n_left > 1:
            self._n_left -= 1
            return
        try:
            target.reload()
        except Exception as error:  # the thread must survive an error of a bundle or a step
            self._pause = min(2 * self._pause, MAX_POLLS) if is_refused else 2
            self._refused, self._n_left = identity, self._pause
            if not is_refused:
                _log.warning(
                    "%s", one_line(f"reload refused, the previous version stays in service: {error}")
                )
        else:
            self._refused = None
