"""Events of a stretch of time, in order, each once.

Parts lie by the hour of their append. An event is appended at most AHEAD_MS before and ``late_ms`` after it
happened, so a stretch is read from the hours that may hold it and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from karec.aggregates.events import AHEAD_MS, Events
from karec.online.event_log.head import read_head
from karec.online.event_log.parts import hour_start, hours, parts_of, read_part
from karec.times import HOUR_MS


def read_events(folder: Path, from_ms: int, until_ms: int) -> Events:
    """Events with from_ms ≤ time_ms < until_ms, in the order of ``Events.in_order``. LogSchemaError for a
    damaged part.

    Memory: all events of the hours that may hold them.
    """
    head, found = read_head(folder), [Events.empty()]
    for hour in hours(folder):
        start = hour_start(hour)
        if start + HOUR_MS + AHEAD_MS > from_ms and start - head.late_ms < until_ms:
            for part in parts_of(folder, hour):
                events = read_part(part, head)
                found.append(events.take((events.time_ms >= from_ms) & (events.time_ms < until_ms)))
    return Events.concatenate(found).sort_unique()


def by_hour(folder: Path, from_ms: int, until_ms: int) -> Iterator[Events]:
    """The same events hour by hour of their own time, and none of an hour without events.

    An hour's parts are read again for each hour of events that they may hold: with events that come days
    late, what is read grows by that factor.
    """
    named = [hour_start(hour) for hour in hours(folder)]
    if not named:
        return
    first = max(from_ms, named[0] - read_head(folder).late_ms) // HOUR_MS * HOUR_MS
    for start in range(first, min(until_ms, named[-1] + HOUR_MS + AHEAD_MS), HOUR_MS):
        events = read_events(folder, max(start, from_ms), min(start + HOUR_MS, until_ms))
        if len(events):
            yield events
