"""Item lifecycle: which items exist, are blocked, open, edited or adjusted, by the newest event.

    presence     newest upload or deletion: the item exists if it is an upload
    block        newest block or unblock of the item; a new upload does not change it
    opening      newest opening or closing of the item
    columns      newest value of each column, from an upload or an edit
    adjustments  newest ``scale`` and newest ``offset`` of the item's scores

"Newest" is by time. Within one millisecond a deletion, block or closing wins, else the higher number. So the
state depends on the set of events, not on their order, and applying an event twice changes nothing. A block
of a creator holds for all their items, whenever these are uploaded, and is stored for the creator.

The ``text`` of an upload or an edit is a JSON object: columns by name, and ``id``, the item's id if the
platform's ids are texts. The creator of an upload is the column ``creator_id``. The text of an adjustment has
``scale``, ``offset`` or both, as finite float32.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import (
    ADJUST,
    BLOCK,
    CLOSE,
    DELETE,
    EDIT,
    LIFECYCLE_KINDS,
    OPEN,
    UNBLOCK,
    UPLOAD,
    WORK,
    Events,
)
from karec.catalog.schema import CREATOR, MAX_VECTOR
from karec.online.store import records
from karec.online.store.online_store import Read

KINDS_WITH_TEXT = (UPLOAD, EDIT, ADJUST)
ADJUSTMENTS = ("scale", "offset")
ID = "id"  # key of the platform id in the text of an upload
MAX_COLUMNS = 1000
MAX_FACTOR = float(np.finfo(np.float32).max)
NO_BASE_MS = 1 << 62  # later than the moment of any base

Moment = tuple[int, int]
"""(time_ms, number) of an event."""
NEVER: Moment = (-(1 << 63), 0)
Value = int | float | str | bool | list[float] | None
TimedKind = tuple[Moment, int]
"""(moment, kind) of an event."""


def pick_newest(*events: TimedKind | None) -> TimedKind | None:
    return max(
        (event for event in events if event is not None),
        key=lambda event: (event[0][0], event[1] in (DELETE, BLOCK, CLOSE), event[0][1]),
        default=None,
    )


@dataclass(frozen=True)
class ItemLife:
    """Newest events of one item. ``presence``, ``block``, ``opening``: None if there was no such event;
    ``columns`` and ``adjustments``: {name: (moment, value)}. ``erased_ms``: the columns of a base from before
    are void.
    """

    presence: TimedKind | None = None
    block: TimedKind | None = None
    opening: TimedKind | None = None
    columns: Mapping[str, tuple[Moment, Value]] = field(default_factory=dict)
    adjustments: Mapping[str, tuple[Moment, Value]] = field(default_factory=dict)
    erased_ms: int = NEVER[0]

    def with_event(self, kind: int, moment: Moment, values: Mapping[str, Value]) -> ItemLife:
        """Returns the life after one more event; ``values`` are those of its text."""
        if kind == ADJUST:
            return replace(self, adjustments=_with_newer(self.adjustments, moment, values))
        presence = pick_newest(self.presence, (moment, kind) if kind in (UPLOAD, DELETE) else None)
        block = pick_newest(self.block, (moment, kind) if kind in (BLOCK, UNBLOCK) else None)
        opening = pick_newest(self.opening, (moment, kind) if kind in (OPEN, CLOSE) else None)
        columns = _with_newer(self.columns, moment, values)
        return replace(self, presence=presence, block=block, opening=opening, columns=columns)

    @property
    def open_ms(self) -> int | None:
        """Time of the newest opening; None if there was none or the item was closed after it."""
        return self.opening[0][0] if self.opening is not None and self.opening[1] == OPEN else None

    @property
    def upload_ms(self) -> int | None:
        """Time of the newest upload; None if there was none or the item was deleted after it."""
        return self.presence[0][0] if self.presence is not None and self.presence[1] == UPLOAD else None

    @property
    def change_ms(self) -> int:
        """Time of the newest upload or edit. The item must have one."""
        moments = [moment[0] for moment, _ in self.columns.values()]
        return max(moments if self.upload_ms is None else [*moments, self.upload_ms])

    @property
    def is_gone(self) -> bool:
        """True if the item is deleted or blocked itself. A block of its creator does not count."""
        is_deleted = self.presence is not None and self.presence[1] == DELETE
        return is_deleted or (self.block is not None and self.block[1] == BLOCK)

    def values(self, min_ms: int = NEVER[0]) -> dict[str, Value]:
        """Returns the newest value of each column that was set at ``min_ms`` or later."""
        return {name: value for name, (moment, value) in self.columns.items() if moment[0] >= min_ms}

    def to_bytes(self) -> bytes:
        events = [
            None if event is None else [*event[0], event[1]]
            for event in (self.presence, self.block, self.opening)
        ]
        tables = [
            {name: [*moment, value] for name, (moment, value) in table.items()}
            for table in (self.columns, self.adjustments)
        ]
        return json.dumps([*events, *tables, *([self.erased_ms] if self.erased_ms else [])]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ItemLife:
        """Reads what ``to_bytes`` wrote. Raises ValueError for anything else."""
        try:
            *events, columns, adjustments = (values := json.loads(data))[:5]
            presence, block, opening = (
                None if event is None else ((int(event[0]), int(event[1])), int(event[2])) for event in events
            )
            (erased_ms,) = values[5:] or [0]
            tables = [
                {name: ((int(time), int(number)), value) for name, (time, number, value) in table.items()}
                for table in (columns, adjustments)
            ]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{data[:60]!r} is not the lifecycle of an item") from error
        return cls(presence, block, opening, tables[0], tables[1], int(erased_ms))


def _with_newer(
    known: Mapping[str, tuple[Moment, Value]], moment: Moment, values: Mapping[str, Value]
) -> dict[str, tuple[Moment, Value]]:
    newer = dict(known)
    for name, value in values.items():
        if name not in newer or (newer[name][0], repr(newer[name][1])) < (moment, repr(value)):
            newer[name] = moment, value
    return newer


def is_factor(value: object) -> bool:
    """Returns True for a number that is finite as float32."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_FACTOR


def is_column_value(value: object) -> bool:
    """Returns True for a value of an upload's column: a text, a number, a vector, or None."""
    if isinstance(value, list):
        return len(value) <= MAX_VECTOR and all(type(number) in (int, float) for number in value)
    return value is None or isinstance(value, str | int | float)


def _parse_adjustment(text: str) -> dict[str, Value] | None:
    """Returns ``scale`` and ``offset``; None if ``text`` has neither, or anything else."""
    values = _parse_columns(text, -1)
    if not values or not values.keys() <= {*ADJUSTMENTS} or not all(map(is_factor, values.values())):
        return None
    return values


def _parse_columns(text: str, creator_id: int) -> dict[str, Value] | None:
    """Returns the columns of an upload or an edit; None if ``text`` is not an object of plain values."""
    try:
        values: Any = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or len(values) > MAX_COLUMNS:
        return None
    if not all(map(is_column_value, values.values())):
        return None
    return {**values, CREATOR: creator_id} if creator_id >= 0 else values


@dataclass(frozen=True)
class ItemLifecycle:
    """Lives of items of one type by id, and the newest block or unblock of creators by id."""

    items: Mapping[int, ItemLife] = field(default_factory=dict)
    creator_blocks: Mapping[int, TimedKind] = field(default_factory=dict)

    def apply(self, events: Events, counts: Counter[str]) -> ItemLifecycle:
        """Returns the items and creators of ``events`` after these events, which are of LIFECYCLE_KINDS."""
        items, creator_blocks = dict[int, ItemLife](), dict[int, TimedKind]()
        for row in range(len(events)):
            kind, item, creator = (
                int(column[row]) for column in (events.kind, events.item_id, events.creator_id)
            )
            moment = int(events.time_ms[row]), int(events.number[row])
            if kind in (BLOCK, UNBLOCK) and item < 0:
                former = creator_blocks.get(creator, self.creator_blocks.get(creator))
                newest = pick_newest(former, (moment, kind))
                assert newest is not None
                creator_blocks[creator] = newest
                continue
            text = events.text[row] if kind in KINDS_WITH_TEXT else ""
            if kind == ADJUST:
                values = _parse_adjustment(text)
            else:
                values = _parse_columns(text, creator if kind in KINDS_WITH_TEXT else -1)
            if values is None:
                counts["unreadable text"] += 1
                continue
            life = items.get(item, self.items.get(item, ItemLife()))
            items[item] = life.with_event(kind, moment, values)
        return ItemLifecycle(items, creator_blocks)

    def to_entries(self, letter: bytes = records.WORK_LIFE) -> dict[bytes, bytes]:
        """Returns the entries of the online store; ``letter``: WORK_LIFE of the item type."""
        entries = {}
        for item, life in self.items.items():
            key = records.keys_of(letter, np.array([item]))[0]
            entries[key] = records.pack(key, life.to_bytes())
        for creator, (moment, kind) in self.creator_blocks.items():
            key = records.keys_of(records.CREATOR_BLOCK, np.array([creator]))[0]
            entries[key] = records.pack(key, np.array([*moment, kind], np.uint64).tobytes())
        return entries

    def items_other_than(self, known: Mapping[int, ItemLife]) -> dict[int, ItemLife]:
        """Returns the lives that are not equal to those in ``known``."""
        return {item: life for item, life in self.items.items() if item not in known or known[item] != life}

    @classmethod
    def from_entries(cls, entries: Mapping[bytes, bytes | None], counts: Counter[str]) -> ItemLifecycle:
        """Reads entries of the store, of one item type. Corrupt ones are counted and taken as missing. The
        items are ``PackedLives``.
        """
        items, creator_blocks = PackedLives(), dict[int, TimedKind]()
        for key, value in entries.items():
            if value is None:
                continue
            if not records.is_whole(key, value, 24 if key[:1] == records.CREATOR_BLOCK else 1):
                counts["corrupt entries"] += 1
                continue
            if key[:1] != records.CREATOR_BLOCK:
                items.put_bytes(records.id_of(key), records.payload(value))
            else:
                time, number, kind = np.frombuffer(records.payload(value), np.uint64).tolist()
                creator_blocks[records.id_of(key)] = (time, number), kind
        return cls(items, creator_blocks)

    @classmethod
    def from_events(
        cls, read: Read, events: Events, counts: Counter[str], letter: bytes = records.WORK_LIFE
    ) -> ItemLifecycle:
        """Reads the items and creators that occur in ``events``, by one call of ``read``."""
        is_creator = np.isin(events.kind, (BLOCK, UNBLOCK)) & (events.item_id < 0)
        creators = np.unique(events.creator_id[is_creator])
        items = np.unique(events.item_id[events.item_id >= 0])
        keys = [*records.keys_of(letter, items), *records.keys_of(records.CREATOR_BLOCK, creators)]
        return cls.from_entries(dict(zip(keys, read(keys), strict=True)), counts)


def select_lifecycle_events(events: Events, item_type: str = WORK) -> Events:
    """Returns the lifecycle events of items of ``item_type``, and of creators."""
    is_selected = (events.item_type == item_type) | (events.item_id < 0)
    return events.take(np.isin(events.kind, LIFECYCLE_KINDS) & is_selected)


@dataclass(eq=False)
class PackedLives(Mapping[int, ItemLife]):
    """{item id: life}, stored as bytes. One thread writes.

    Each garbage collection would walk through objects while it holds Python's lock; bytes are skipped.
    """

    _bytes: dict[int, bytes] = field(default_factory=dict)
    _change_ms: dict[int, int] = field(default_factory=dict)

    @classmethod
    def from_lives(cls, lives: Mapping[int, ItemLife]) -> Self:
        """Copies ``lives``."""
        if isinstance(lives, cls):
            return cls(lives._bytes.copy(), lives._change_ms.copy())
        copy = cls()
        copy.put(lives)
        return copy

    def __getitem__(self, item: int) -> ItemLife:
        return ItemLife.from_bytes(self._bytes[item])

    def __iter__(self) -> Iterator[int]:
        return iter(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __contains__(self, item: object) -> bool:
        return item in self._bytes

    def put(self, lives: Mapping[int, ItemLife]) -> None:
        """Replaces the lives of these items."""
        for item, life in lives.items():
            self._bytes[item], self._change_ms[item] = life.to_bytes(), _change_ms(life)

    def put_bytes(self, item: int, data: bytes) -> None:
        """Replaces one life by its bytes. Raises ValueError if ``ItemLife.from_bytes`` does."""
        self._bytes[item], self._change_ms[item] = data, _change_ms(ItemLife.from_bytes(data))

    def change_times(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (item ids (N,) int64, time of the newest upload or edit of each (N,) int64 ms).

        A base of a later moment contains all changes of the item. NO_BASE_MS if the item was also deleted,
        blocked or adjusted, which no base contains.
        """
        n = len(self._bytes)
        return np.fromiter(self._bytes, np.int64, n), np.fromiter(self._change_ms.values(), np.int64, n)


def _change_ms(life: ItemLife) -> int:
    is_deleted = life.presence is not None and life.presence[1] == DELETE
    has_values = life.columns or life.upload_ms is not None
    is_in_base = not is_deleted and has_values and life.block is None and not life.adjustments
    return life.change_ms if is_in_base else NO_BASE_MS
