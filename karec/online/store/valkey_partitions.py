"""Partitions of a Valkey store: keys, events by partition, and cursor."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import LIFECYCLE_KINDS, Events
from karec.online.store.event_bytes import event_ids, to_bytes
from karec.online.store.online_store import START, Cursor, StateUpdate
from karec.online.store.records import (
    CREATOR_BLOCK,
    NEWEST_SHOWN,
    RECENT_COUNTERS,
    USER_COUNTERS,
    USER_LISTS,
    WORK_COUNTERS,
    WORK_LIFE,
    keys_of,
    letter_of,
)

LIFECYCLE = 0  # partition of lifecycle events; the first, so that no poll leaves it out
N_PARTITIONS = 257  # the others are of users
ITEM_LETTERS = (WORK_COUNTERS, RECENT_COUNTERS)  # of a user's partition
USER_LETTERS = (*USER_LISTS.values(), NEWEST_SHOWN, USER_COUNTERS)
_CURSOR = struct.Struct(f"<20s{N_PARTITIONS}Q")  # the server's run id; last event of each partition


def partitions_of(user_ids: NDArray[Any]) -> NDArray[Any]:
    """Returns (M,) int64: the partition of each user, by 8 bits of SplitMix64's finalizer (Steele, Lea and
    Flood 2014). Stored state depends on it.
    """
    x = np.asarray(user_ids, np.int64).view(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return 1 + np.asarray((x ^ (x >> np.uint64(31))) >> np.uint64(56)).astype(np.int64)


@dataclass(eq=False)
class Part:
    """The events of one append in one partition.

    rows      (M,) their rows in the append
    ids       (M,) their ids
    is_first  (M,) bool: False if the same event precedes in the append
    is_new    (M,) bool: first, and not in the store when ``last`` was read
    last      number of the newest event of the partition, in decimal digits
    values    state of the partition, read after ``last``
    """

    partition: int
    events: Events
    rows: NDArray[Any]
    ids: list[bytes]
    is_first: NDArray[Any]
    is_new: NDArray[Any]
    last: bytes = b"0"
    values: dict[bytes, bytes | None] = field(default_factory=dict)

    @cached_property
    def state_keys(self) -> dict[str, list[bytes]]:
        """Keys of the state that most updates read, by hash."""
        events = self.events
        item_ids = np.unique(events.item_id[events.item_id >= 0])
        if self.partition == LIFECYCLE:
            creator_ids = np.unique(events.creator_id[events.item_id < 0])
            keys = [*keys_of(WORK_LIFE, item_ids), *keys_of(CREATOR_BLOCK, creator_ids)]
        else:
            user_ids = np.unique(events.user_id)
            keys = [key for letter in USER_LETTERS for key in keys_of(letter, user_ids)]
            keys += [key for letter in ITEM_LETTERS for key in keys_of(letter, item_ids)]
        return group_by_hash(self.partition, keys)

    @property
    def keys(self) -> list[str]:
        """KEYS of the script."""
        return [key_name(self.partition, name) for name in ("last", "events", "seen", "state", "items")]

    def arguments(self, change: StateUpdate) -> list[bytes | int]:
        """Returns ARGV of the script."""
        rows = np.flatnonzero(self.is_new)
        data = to_bytes(self.events.take(rows), change.is_counted)
        arguments: list[bytes | int] = [self.last, len(rows)]
        for row, event in zip(rows.tolist(), data, strict=True):
            arguments += [self.ids[row], event]
        for key, value in change.entries.items():
            index = 5 if _is_item_key(self.partition, key) else 4
            arguments += [-index, key, b""] if value is None else [index, key, value]
        return arguments


def group_by_partition(events: Events) -> list[Part]:
    is_lifecycle = np.isin(events.kind, LIFECYCLE_KINDS)
    partitions = np.where(is_lifecycle, LIFECYCLE, partitions_of(events.user_id))
    parts = []
    for partition in np.unique(partitions).tolist():
        rows = np.flatnonzero(partitions == partition)
        part_events = events.take(rows)
        ids = event_ids(part_events)
        is_first = np.zeros(len(rows), bool)
        first_rows = {event_id: row for row, event_id in reversed([*enumerate(ids)])}
        is_first[[*first_rows.values()]] = True
        parts.append(Part(partition, part_events, rows, ids, is_first, is_first))
    return parts


def group_by_hash(partition: int, keys: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Returns {name of the hash: its keys of ``keys``}."""
    groups = dict[str, list[bytes]]()
    for key in keys:
        name = "items" if _is_item_key(partition, key) else "state"
        groups.setdefault(key_name(partition, name), []).append(key)
    return groups


def _is_item_key(partition: int, key: bytes) -> bool:
    return partition == LIFECYCLE or letter_of(key)[-1:] in ITEM_LETTERS


def key_name(partition: int, name: str) -> str:
    return f"{{karec:{partition}}}:{name}"


def encode_cursor(run_id: bytes, numbers: Sequence[int]) -> Cursor:
    return _CURSOR.pack(run_id, *numbers)


def decode_cursor(cursor: Cursor) -> tuple[bytes | None, list[int]]:
    """Returns (run id of the server, number of the last event of each partition); (None, zeros) of START."""
    if cursor == START:
        return None, [0] * N_PARTITIONS
    if len(cursor) != _CURSOR.size:
        raise ValueError(f"cursor has {len(cursor)} bytes, expected {_CURSOR.size} of a Valkey store")
    run_id, *numbers = _CURSOR.unpack(cursor)
    return run_id, numbers
