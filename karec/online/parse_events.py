"""Turns rows that a service or an operator reports into events, and refuses rows that are not events."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np

from karec.aggregates.events import COLUMNS, KINDS, WORK, Events, Head
from karec.erasure import Tombstones
from karec.index.ids import IdMap, PlainIds
from karec.online.lifecycle import ADJUSTMENTS, ID, is_column_value, is_factor
from karec.online.store import records
from karec.online.store.online_store import OnlineStore

if TYPE_CHECKING:
    from karec.bundle import Bundle
    from karec.bundle.ids import BundleIds
    from karec.bundle.item_types import ItemTypeBundle
    from karec.catalog.snapshot import Snapshot

KEYS = (
    *("event", "event_id", "time_ms", "user_id", "item_id", "creator_id", "scene", "position", "labels"),
    *("play_ms", "request_id", "columns", "text", "scale", "offset", "item_type"),
)
INTEGER_BITS = {"time_ms": 64, "position": 32, "play_ms": 64}
MAX_QUOTED = 40  # characters of a wrong name in a reason
UPLOAD, EDIT, ADJUST, IMPRESSION = "upload", "edit", "adjust", "impression"
BLOCKS, OPENINGS = ("block", "unblock"), ("open", "close")
CREATOR_TYPE = "creator"  # item type whose items are creators
WORK_TYPE = "work"  # name of works in events


@dataclass(frozen=True)
class Acknowledgement:
    """Result of one call of ``record``.

    events   number of stored events, repeated ones included; the next request reads them
    refused  {reason: number of rows that are not stored}
    """

    events: int
    refused: Mapping[str, int] = field(default_factory=dict)


class EventParser:
    """Parses rows with the ids of ``bundle`` and the names of ``head``. Any thread may call.

    ``tombstones``: events before the erasure of one of their ids are refused. ``scenes``: further scenes;
    their events count in no scene. ``opening_types``: the item types whose items open and close.
    """

    def __init__(
        self,
        bundle: Bundle,
        head: Head,
        tombstones: Tombstones,
        scenes: Collection[str] = (),
        opening_types: Collection[str] = (),
    ) -> None:
        self._bundle = bundle
        self._tombstones = tombstones
        self._head = head
        self._scenes = {*head.scenes, *scenes}
        self._opening_types = opening_types
        self._types = {name: bundle.item_type(name) for name in bundle.item_types}
        self._naming = bundle.naming
        # Ids of events without one. They rise: events of one millisecond keep the order of their rows.
        self._source = uuid4().int >> 64
        self._numbers = count(time.time_ns())
        path = bundle.path / "ids" / "creators.karec"
        self._creators = None if self._naming is None else self._naming.users
        if path.exists():
            self._creators = IdMap.open(path, verify=False)

    def parse(
        self, rows: Iterable[Mapping[str, Any]], now_ms: int, store: OnlineStore
    ) -> tuple[Events, Counter[str]]:
        """Returns (events, {reason: number of rows that are not events}).

        ``now_ms``: the time of rows without ``time_ms``. ``store`` has the items that were uploaded.
        """
        has_tombstones, works = bool(self._tombstones), self._bundle.snapshot.works
        uploads = set[tuple[str, int]]()
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        refused: Counter[str] = Counter()
        for row in rows:
            try:
                cells = self._cells(row, now_ms)
                if has_tombstones:
                    self._check_not_erased(row, cells["time_ms"])
                is_known_work = cells["item_type"] == WORK and works.row(cells["item_id"]) >= 0
                if not is_known_work:
                    self._check_item(cells, uploads, store)
            except _NotAnEventError as error:
                refused[str(error)] += 1
                continue
            for name, cell in cells.items():
                columns[name].append(cell)
        if not columns["kind"]:
            return Events.empty(), refused
        kinds = columns.pop("kind")
        arrays = {name: _array(cells) for name, cells in columns.items()}
        return Events.from_columns(_array(kinds), **arrays), refused

    def _cells(self, row: object, now_ms: int) -> dict[str, Any]:
        if not isinstance(row, Mapping):
            raise _NotAnEventError("a row is not a table")
        for key in row:
            if key not in KEYS:
                raise _NotAnEventError(f"unknown key {str(key)[:MAX_QUOTED]!r}")
        row = {key: value for key, value in row.items() if value is not None}
        event = row.get("event")
        if not isinstance(event, str) or event not in KINDS:
            raise _NotAnEventError("unknown event")
        cells = {name: empty for name, (_, empty) in COLUMNS.items()}
        own_id = self._source, next(self._numbers)
        source, number = own_id if "event_id" not in row else _parse_event_id(row["event_id"])
        cells |= {"kind": KINDS.index(event), "source": source, "number": number, "time_ms": now_ms}
        cells |= {
            key: _parse_integer(row[key], key, bits) for key, bits in INTEGER_BITS.items() if key in row
        }
        if cells["position"] < 0 and "position" in row:
            raise _NotAnEventError("position is below 0")
        item_type = self._parse_item_type(event, row)
        items = self._bundle if item_type == WORK else self._types[item_type]
        naming = items.naming
        id_maps = {
            "user_id": None if naming is None else naming.users,
            "item_id": None if naming is None else naming.items,
            "creator_id": self._creators,
        }
        cells |= {key: _parse_id(row[key], key, ids) for key, ids in id_maps.items() if key in row}
        cells["item_type"] = item_type
        if event in BLOCKS and sum(key in row for key in id_maps) > 1:
            raise _NotAnEventError(f"{event} has several of user_id, item_id and creator_id")
        if event in BLOCKS and item_type == CREATOR_TYPE:
            cells |= {"item_type": WORK, "item_id": -1, "creator_id": cells["item_id"]}
        elif event in BLOCKS and "user_id" in row:
            cells["creator_id"] = cells["user_id"]  # a user is blocked as a creator
        elif item_type == CREATOR_TYPE and event in (UPLOAD, EDIT):
            cells["creator_id"] = cells["item_id"]  # else a block of the creator would not hold for the item
        cells["scene"] = self._parse_scene(row.get("scene"))
        cells["labels"] = self._parse_labels(row.get("labels", ()))
        cells["request_id"] = _text(row, "request_id")
        cells["text"] = self._text_of(event, row, cells["item_id"], items)
        return cells

    def _check_not_erased(self, row: Mapping[str, Any], time_ms: int) -> None:
        item_type = row.get("item_type") or WORK_TYPE
        item_kind = "item" if item_type == WORK_TYPE else item_type
        for key, kind in (("user_id", "user"), ("creator_id", "creator"), ("item_id", item_kind)):
            if row.get(key) is not None and time_ms < self._tombstones.erased_ms(kind, [row[key]])[0]:
                raise _NotAnEventError(f"{key} was erased after this event")

    def _parse_item_type(self, event: str, row: Mapping[str, Any]) -> str:
        """Returns the type of the row's item, WORK for works and for a row without an item."""
        item_type = row.get("item_type", WORK_TYPE)
        if not isinstance(item_type, str) or item_type not in (WORK_TYPE, *self._types):
            raise _NotAnEventError(f"unknown item_type {str(item_type)[:MAX_QUOTED]!r}")
        if event in OPENINGS and item_type not in self._opening_types:
            raise _NotAnEventError(f"items of the type {item_type!r} do not open: see [online] open_minutes")
        return WORK if item_type == WORK_TYPE or "item_id" not in row else item_type

    def _check_item(
        self, cells: Mapping[str, Any], uploads: set[tuple[str, int]], store: OnlineStore
    ) -> None:
        """Raises _NotAnEventError for an item that only another type has.

        ``uploads``: (item type, id) of the earlier uploads. An upload is added to it.
        """
        item_type, item = cells["item_type"] or WORK_TYPE, cells["item_id"]
        if KINDS[cells["kind"]] == UPLOAD:
            uploads.add((item_type, item))
        snapshots = {name: items.snapshot for name, items in self._types.items()}
        snapshots[WORK_TYPE] = self._bundle.snapshot
        types = [name for name, snapshot in snapshots.items() if snapshot.works.row(item) >= 0]
        if not types or item_type in types or (item_type, item) in uploads:
            return
        letter = records.letter_of_type(records.WORK_LIFE, cells["item_type"])
        if store.read_items(records.keys_of(letter, np.array([item]))) == [None]:
            raise _NotAnEventError(f"item_id is an item of the type {types[0]!r}, not of {item_type!r}")

    def _parse_scene(self, scene: Any) -> int:
        if not isinstance(scene, str | None):
            raise _NotAnEventError("scene is not a string")
        if scene is not None and scene not in self._scenes:
            raise _NotAnEventError(f"unknown scene {scene[:MAX_QUOTED]!r}")
        return self._head.scenes.index(scene) if scene in self._head.scenes else -1

    def _parse_labels(self, labels: Any) -> int:
        if isinstance(labels, str | Mapping) or not isinstance(labels, Iterable):
            raise _NotAnEventError("labels are not a list of names")
        bits = 0
        for label in labels:
            if not isinstance(label, str) or label not in self._head.labels:
                raise _NotAnEventError(f"unknown label {str(label)[:MAX_QUOTED]!r}")
            bits |= 1 << self._head.labels.index(label)
        return bits

    def _text_of(self, event: str, row: Mapping[str, Any], item: int, items: Bundle | ItemTypeBundle) -> str:
        if event == ADJUST:
            return _format_adjustment(row)
        if event == IMPRESSION and self._has_new_user(row):
            return str(row["user_id"])  # the next training adds it to the id map
        if event not in (UPLOAD, EDIT):
            return _text(row, "text")
        columns = row.get("columns", {})
        if not isinstance(columns, Mapping):
            raise _NotAnEventError("columns are not a table")
        values = {str(name): _plain(value) for name, value in columns.items() if name != ID}
        if not all(map(is_column_value, values.values())):
            raise _NotAnEventError("columns have a value that is not a number, string, boolean or vector")
        if items.naming is not None and event == UPLOAD and "item_id" in row:
            if _has_number_of_another(item, row["item_id"], items.naming, items.snapshot):
                raise _NotAnEventError("item_id has the number of another item: choose another id")
            values |= {ID: row["item_id"]}
            values |= {"creator": row["creator_id"]} if "creator_id" in row else {}
        try:
            return json.dumps(values, ensure_ascii=False)
        except ValueError:  # Python does not write integers of more than 4,300 digits
            raise _NotAnEventError("columns have a number of too many digits") from None

    def _has_new_user(self, row: Mapping[str, Any]) -> bool:
        naming = self._naming
        return naming is not None and "user_id" in row and not naming.users.contains([row["user_id"]])[0]


class _NotAnEventError(ValueError):
    """The reason why a row is not an event."""


def _has_number_of_another(number: int, item_id: Any, naming: BundleIds, snapshot: Snapshot) -> bool:
    if isinstance(naming.items, PlainIds) or naming.items.contains([item_id])[0]:
        return False
    return snapshot.works.row(number) >= 0 or naming.since.get(number, item_id) != item_id


def _format_adjustment(row: Mapping[str, Any]) -> str:
    values = {name: _plain(row[name]) for name in ADJUSTMENTS if row.get(name) is not None}
    if not values:
        raise _NotAnEventError("scale and offset are missing")
    for name, value in values.items():
        if not is_factor(value):
            raise _NotAnEventError(f"{name} is not a finite number")
    return json.dumps(values)


def _array(cells: list[Any]) -> Any:
    return np.array(cells, object) if isinstance(cells[0], str) else cells


def _plain(value: Any) -> Any:
    """Returns a NumPy number or vector as a number or list of Python."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _text(row: Mapping[str, Any], key: str) -> str:
    text = row.get(key, "")
    if not isinstance(text, str):
        raise _NotAnEventError(f"{key} is not a string")
    return text


def _parse_integer(value: Any, key: str, bits: int = 64) -> int:
    try:
        integer = None if isinstance(value, bool) else value.__index__()
    except (AttributeError, TypeError):
        integer = None
    if integer is None:
        raise _NotAnEventError(f"{key} is not an integer")
    if not -(1 << bits - 1) <= integer < 1 << bits - 1:
        raise _NotAnEventError(f"{key} is beyond {bits} bits")
    return int(integer)


def _parse_id(value: Any, key: str, ids: Any) -> int:
    """Returns the number of an id. ``ids``: None if ids are numbers."""
    if ids is None:
        return _parse_integer(value, key)
    try:
        return int(ids.numbers([value])[0])
    except (OverflowError, TypeError, ValueError):
        raise _NotAnEventError(f"{key} is not an id of this platform") from None


def _parse_event_id(value: Any) -> tuple[int, int]:
    """Returns (source, number) of a UUID, its text, or two numbers."""
    if isinstance(value, str):
        try:
            value = UUID(value)
        except ValueError:
            raise _NotAnEventError("event_id is not a UUID") from None
    if isinstance(value, UUID):
        return value.int >> 64, value.int & (1 << 64) - 1
    try:
        source, number = (int(part.__index__()) for part in value)
    except (AttributeError, TypeError, ValueError):
        raise _NotAnEventError("event_id is not a UUID and not a pair of numbers") from None
    if not (0 <= source < 1 << 64 and 0 <= number < 1 << 64):
        raise _NotAnEventError("event_id is beyond 128 bits")
    return source, number
