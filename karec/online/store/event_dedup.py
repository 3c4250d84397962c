"""Which events were counted already: by hour of the event and user, time, source and number of each.

The window. An event is appended at most ``late_ms`` after it happened, so a repeat of it is too: hours that
ended more than 2·late_ms before the newest append are forgotten. Within the window a repeat is always found;
a second ``late_ms`` is there for a writer of the log that is read after the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import Events
from karec.online.store.records import HORIZON, packed, seen_from, seen_keys, unpack
from karec.online.store.store import StateStore
from karec.times import HOUR_MS


def once(store: StateStore, events: Events) -> tuple[NDArray[Any], dict[bytes, bytes], int]:
    """((M,) bool: the first of each event that was not counted yet, what to commit, corrupt entries). O(M log
    M + the hours' events).
    """
    hours = events.time_ms // HOUR_MS
    order = np.lexsort((events.user_id, hours))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(hours[order]) != 0) | (np.diff(events.user_id[order]) != 0)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    heads = order[new]
    keys = seen_keys(hours[heads], events.user_id[heads])
    old = unpack(keys, store.read(keys), 3)
    mine = np.stack([events.time_ms, events.source.view(np.int64), events.number.view(np.int64)], axis=1)
    rows = np.concatenate([old.rows, mine])
    groups = np.concatenate([np.repeat(np.arange(len(keys)), np.diff(old.first)), group])
    by = np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0], groups))
    kept = np.ones(len(by), bool)
    kept[1:] = (np.diff(groups[by]) != 0) | (rows[by[1:]] != rows[by[:-1]]).any(axis=1)
    first = np.zeros(len(rows), bool)
    first[by[kept]] = True
    bounds = np.searchsorted(groups[by[kept]], np.arange(len(keys) + 1))
    return first[len(old.rows) :], packed(keys, bounds, rows[by[kept]]), old.corrupt


def forgotten(store: StateStore, newest_ms: int, late_ms: int) -> dict[bytes, bytes | None]:
    """What to commit so that hours out of the window go, once the newest append is of ``newest_ms``."""
    value = store.read([HORIZON])[0]
    newest, begin = (0, 0) if value is None or len(value) != 16 else np.frombuffer(value, "<i8").tolist()
    newest = max(newest, newest_ms)
    until = max(begin, (newest - 2 * late_ms) // HOUR_MS)
    gone: dict[bytes, bytes | None] = {}
    if until > begin:
        gone = dict.fromkeys(key for key, _ in store.scan(seen_from(begin), seen_from(until)))
    return {**gone, HORIZON: np.array([newest, until], "<i8").tobytes()}
