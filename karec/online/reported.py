"""What a host reports, as events of the log: ids of the platform become numbers, and what is no event is
refused."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np

from karec.aggregates.events import COLUMNS, EXPOSURE, KINDS, Events, Head, find_invalid
from karec.index.ids import IdMap, PlainIds
from karec.online.lifecycle import ADJUSTMENTS, ID, is_factor

if TYPE_CHECKING:
    from karec.bundle import Bundle

KEYS = (
    *(
        "kind",
        "id",
        "time_ms",
        "user",
        "work",
        "creator",
        "scene",
        "position",
        "labels",
        "play_ms",
        "request_id",
    ),
    *("columns", "text", "scale", "offset"),
)
WHOLE = {"time_ms": 64, "position": 32, "play_ms": 64}  # and their bits
UNWRITTEN = "the log cannot be written"  # the reason that all events of a call have then
UPLOAD, EDIT, ADJUST = "upload", "edit", "adjust"


class Exposed(NamedTuple):
    """One work that was shown: its number, when, and the scene, None where the event names none that is
    served."""

    work: int
    time_ms: int
    scene: str | None


@dataclass(frozen=True)
class Acknowledged:
    """``events`` are in the log; ``refused`` {reason: how many} are not. ``waiting``: why the state store has
    not taken them yet; None: the next request knows them. ``exposed``: the exposures among them.
    """

    events: int
    refused: Mapping[str, int] = field(default_factory=dict)
    waiting: str | None = None
    exposed: tuple[Exposed, ...] = field(default=(), repr=False, compare=False)


class EventParser:
    """Turns rows of plain values into events, for the ids of ``bundle`` and the names of ``head``."""

    def __init__(self, bundle: Bundle, head: Head) -> None:
        self._bundle, self._head = bundle, head
        self._naming = bundle.naming
        self._source = uuid4().int >> 64
        # rising: of one millisecond, events are in the order of their telling
        self._numbers = count(time.time_ns())
        path = bundle.path / "ids" / "creators.karec"
        self._creators = None if self._naming is None else self._naming.users
        if path.exists():
            self._creators = IdMap.open(path, verify=False)

    def events(self, rows: Iterable[Mapping[str, Any]], now_ms: int) -> tuple[Events, Counter[str]]:
        """(events, {reason: rows that are none}). ``now_ms``: the moment of those that say none."""
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        refused: Counter[str] = Counter()
        for row in rows:
            try:
                cells = self._cells(row, now_ms)
            except _NoEventError as error:
                refused[str(error)] += 1
                continue
            for name, cell in cells.items():
                columns[name].append(cell)
        if not columns["kind"]:
            return Events.empty(), refused
        codes = columns.pop("kind")
        return Events.from_columns(
            _array(codes), **{name: _array(each) for name, each in columns.items()}
        ), refused

    def _cells(self, row: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
        given: object = row
        if not isinstance(given, Mapping):
            raise _NoEventError("a row is no table")
        unknown = [key for key in row if key not in KEYS]
        if unknown:
            raise _NoEventError(f"unknown key {str(unknown[0])[:40]!r}")
        row = {key: value for key, value in row.items() if value is not None}
        kind = row.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise _NoEventError("unknown kind")
        cells = {name: empty for name, (_, empty) in COLUMNS.items()}
        own = self._source, next(self._numbers)
        source, number = own if "id" not in row else _id_of(row["id"])
        cells |= {"kind": KINDS.index(kind), "source": source, "number": number, "time_ms": now_ms}
        cells |= {key: _whole(row[key], key, bits) for key, bits in WHOLE.items() if key in row}
        naming = self._naming
        of_ids = (
            ("user", "user_id", None if naming is None else naming.users),
            ("work", "item_id", None if naming is None else naming.items),
            ("creator", "creator_id", self._creators),
        )
        cells |= {column: _number(row[key], key, ids) for key, column, ids in of_ids if key in row}
        cells["scene"] = self._scene(row.get("scene"))
        cells["labels"] = self._labels(row.get("labels", ()))
        cells["request_id"] = _said(row, "request_id")
        cells["text"] = self._text(kind, row, cells["item_id"])
        return cells

    def _scene(self, scene: Any) -> int:
        if not isinstance(scene, str | None):
            raise _NoEventError("scene is no text")
        return self._head.scenes.index(scene) if scene in self._head.scenes else -1

    def _labels(self, labels: Any) -> int:
        if isinstance(labels, str | Mapping) or not isinstance(labels, Iterable):
            raise _NoEventError("labels are no list of names")
        bits = 0
        for label in labels:
            if not isinstance(label, str) or label not in self._head.labels:
                raise _NoEventError("unknown label")
            bits |= 1 << self._head.labels.index(label)
        return bits

    def _text(self, kind: str, row: Mapping[str, Any], work: int) -> str:
        if kind == ADJUST:
            return _adjustment(row)
        if kind not in (UPLOAD, EDIT):
            return _said(row, "text")
        columns = row.get("columns", {})
        if not isinstance(columns, Mapping):
            raise _NoEventError("columns are no table")
        said = {str(name): _plain(value) for name, value in columns.items() if name != ID}
        if not all(value is None or isinstance(value, str | int | float) for value in said.values()):
            raise _NoEventError("columns hold what is no number, text or truth value")
        if self._naming is not None and kind == UPLOAD and "work" in row:
            if self._is_another(work, row["work"]):
                raise _NoEventError("the id has the number of another work: choose another id")
            said |= {ID: row["work"]} | ({"creator": row["creator"]} if "creator" in row else {})
        try:
            return json.dumps(said, ensure_ascii=False)
        except ValueError:  # more digits than Python writes
            raise _NoEventError("columns hold a number of too many digits") from None

    def _is_another(self, work: int, name: Any) -> bool:
        """Whether the number is that of a work with another id."""
        assert self._naming is not None
        items = self._naming.items
        if isinstance(items, PlainIds) or items.contains([name])[0]:
            return False
        taken = self._bundle.snapshot.works.lookup(np.array([work]))[0] >= 0
        return bool(taken or self._naming.since.get(work, name) != name)


def exposed_of(events: Events, head: Head, all_taken: bool) -> tuple[Exposed, ...]:
    """The exposures that a log with this ``head`` takes of ``events``. ``all_taken``: it has taken all of
    them."""
    shown = events.take(events.kind == EXPOSURE)
    if not len(shown):
        return ()
    if not all_taken:
        shown = shown.take(~np.any([*find_invalid(shown, len(head.labels), head.late_ms).values()], axis=0))
    scenes = [head.scenes[code] if 0 <= code < len(head.scenes) else None for code in shown.scene.tolist()]
    return tuple(map(Exposed, shown.item_id.tolist(), shown.time_ms.tolist(), scenes))


class _NoEventError(ValueError):
    """Why a row is no event."""


def _adjustment(row: Mapping[str, Any]) -> str:
    told = {name: _plain(row[name]) for name in ADJUSTMENTS if row.get(name) is not None}
    if not told:
        raise _NoEventError("no scale and no offset")
    for name, value in told.items():
        if not is_factor(value):
            raise _NoEventError(f"{name} is no finite number")
    return json.dumps(told)


def _array(cells: list[Any]) -> Any:
    return np.array(cells, object) if isinstance(cells[0], str) else cells


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _said(row: Mapping[str, Any], what: str) -> str:
    text = row.get(what, "")
    if not isinstance(text, str):
        raise _NoEventError(f"{what} is no text")
    return text


def _whole(value: Any, what: str, bits: int = 64) -> int:
    try:
        whole = None if isinstance(value, bool) else value.__index__()
    except (AttributeError, TypeError):
        whole = None
    if whole is None:
        raise _NoEventError(f"{what} is no whole number")
    if not -(1 << bits - 1) <= whole < 1 << bits - 1:
        raise _NoEventError(f"{what} is beyond {bits} bits")
    return int(whole)


def _number(value: Any, what: str, ids: Any) -> int:
    """The number of an id; ``ids``: their map, None where ids are numbers."""
    if ids is None:
        return _whole(value, what)
    try:
        return int(ids.numbers([value])[0])
    except (OverflowError, TypeError, ValueError):
        raise _NoEventError(f"{what} is no id of this platform") from None


def _id_of(given: Any) -> tuple[int, int]:
    """(source, number) of an event's id: a UUID or its text, or two numbers."""
    if isinstance(given, str):
        try:
            given = UUID(given)
        except ValueError:
            raise _NoEventError("id is no UUID") from None
    if isinstance(given, UUID):
        return given.int >> 64, given.int & (1 << 64) - 1
    try:
        source, number = (int(part.__index__()) for part in given)
    except (AttributeError, TypeError, ValueError):
        raise _NoEventError("id is no UUID and no pair of numbers") from None
    if not (0 <= source < 1 << 64 and 0 <= number < 1 << 64):
        raise _NoEventError("id is beyond 128 bits")
    return source, number
