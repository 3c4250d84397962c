"""Commits the appends of several threads together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import groupby
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import Events
from karec.errors import Unavailable
from karec.online.store.online_store import Update

Commit = Callable[[Events, Update], NDArray[Any]]
"""Commits events. Returns (M,) bool, True for a new event."""


class GroupCommit:
    """Queue of appends. The thread that gets the lock commits all that wait. Any thread may call."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._queue = deque[_Append]()
        self._committing = Lock()

    def append(self, events: Events, update: Update) -> NDArray[Any]:
        append = _Append(events, update)
        self._queue.append(append)
        with self._committing:
            if append.is_new is None and append.error is None:
                self._commit_all([self._queue.popleft() for _ in range(len(self._queue))])
        if append.error is not None:
            raise append.error
        assert append.is_new is not None
        return append.is_new

    def _commit_all(self, appends: list[_Append]) -> None:
        for update, group in groupby(appends, lambda append: append.update):
            members = [*group]
            ends = np.cumsum([len(append.events) for append in members])
            try:
                is_new = self._commit(Events.concatenate([append.events for append in members]), update)
                for append, part in zip(members, np.split(is_new, ends[:-1]), strict=True):
                    append.is_new = part
            except BaseException as error:
                if len(members) > 1 and not isinstance(error, Unavailable):
                    for append in members:  # The error may be due to the events of one append.
                        self._commit_all([append])
                    continue
                for append in members:
                    append.error = error


class _Append:
    """A call of ``append``; once it is committed it has ``is_new`` or ``error``."""

    def __init__(self, events: Events, update: Update) -> None:
        self.events = events
        self.update = update
        self.is_new: NDArray[Any] | None = None
        self.error: BaseException | None = None
