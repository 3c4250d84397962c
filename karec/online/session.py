"""Events of a session that a request brings along: they act on this request, and nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from karec.aggregates.events import KINDS, Events, find_invalid
from karec.aggregates.located_events import AGGREGATED_KINDS
from karec.online.apply_events import EventApplier
from karec.online.parse_events import EventParser
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import OnlineStore

MAX_EVENTS = 1_000
SESSION_EVENTS = tuple(KINDS[kind] for kind in AGGREGATED_KINDS)


@dataclass(frozen=True, eq=False)
class Sessions:
    """Parses the events of sessions, and computes the state of a user after them. Any thread may call."""

    parser: EventParser
    store: OnlineStore
    contents: StoreContents

    def parse(self, rows: Sequence[Mapping[str, Any]], user_id: int, now_ms: int) -> Events:
        """Returns the events of ``rows``, with the platform's ids of items, as events of the user.

        An event before the bundle gets the bundle's time: the bundle does not contain it.

        Raises ValueError for a row that is not an event of a user, that names a user, or that is later than
        ``now_ms``.
        """
        if len(rows) > MAX_EVENTS:
            raise ValueError(f"events: {len(rows)} rows, expected at most {MAX_EVENTS}")
        for i, row in enumerate(rows):
            if "user_id" in row:
                raise ValueError(
                    f"events[{i}]: has a user_id, but the events are those of the request's user"
                )
            if row.get("event") not in SESSION_EVENTS:
                raise ValueError(
                    f"events[{i}]: event is {row.get('event')!r}, expected one of {SESSION_EVENTS}"
                )
        events, refused = self.parser.parse(rows, now_ms, self.store)
        if refused:
            first = next(i for i, row in enumerate(rows) if self.parser.parse([row], now_ms, self.store)[1])
            raise ValueError(f"events[{first}]: {next(iter(refused))}")
        n, head = len(rows), self.contents.head
        events = replace(events, user_id=np.full(n, user_id), logged_ms=np.full(n, now_ms))
        for reason, is_invalid in find_invalid(events, len(head.labels), head.late_ms).items():
            if is_invalid.any():
                raise ValueError(f"events[{int(is_invalid.argmax())}]: {reason}")
        return replace(events, time_ms=np.maximum(events.time_ms, self.contents.base.time_ms))

    def entries_after(self, events: Events, user_id: int) -> Mapping[bytes, bytes | None]:
        """Returns the entries of the store that ``events`` of the user would change."""
        applier = EventApplier(self.contents)
        return applier(events, lambda keys: self.store.read_user(user_id, keys)).entries
