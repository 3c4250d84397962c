"""A store made again from the log."""

from __future__ import annotations

from pathlib import Path

from karec.platform.event_log.tail import EventTail
from karec.platform.state.folded import Folded
from karec.platform.state.store import StateStore
from karec.platform.state.writer import StateWriter


def catch_up(store: StateStore, folded: Folded, log: Path) -> StateWriter:
    """Takes everything that the log has behind the store's cursor; an empty store is so rebuilt. The writer that did
    it.
    """
    writer = StateWriter(store, folded)
    tail = EventTail(log, writer.cursor)
    while writer.follow(tail):
        pass
    return writer
