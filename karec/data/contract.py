"""Reads a data.toml: the tables, the meaning of the labels and the split. See docs/data.md.

A preset is a data.toml of this package, for the files of a public data set as they are downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from karec.catalog.schema import Meaning
from karec.data.inspect_tables import snake_case
from karec.data.log_settings import Label, Meanings, Negatives, Past, Split
from karec.data.table_settings import Events, Items, Pairs, Rows, TypedItems
from karec.errors import ConfigError
from karec.toml import Place, Settings, convert, read_toml

FILE = "data.toml"
ROLES = ("song", "creator")  # item types that are columns of [items]
WORK_TYPES = ("work", "user", *ROLES)  # made of [items] and [users], not of [items.TYPE]
TYPE_KEYS = {"path", "id", "works"}  # a table of items with one of them is [items.TYPE]
POSITIVE = "positive"  # the label of a log that has only positives
CONSUMED = (  # names of labels by which a user consumes an item
    r"(^rate|(^|_)(buy|bought|purchas\w*|order\w*|pay|paid|payment|transaction|checkout|rated|rating|review\w*))"
    r"s?(_|$)"
)
_PRESETS = Path(__file__).parent / "presets"
PRESETS = tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


class Contract(Settings, frozen=True, kw_only=True):
    """A data.toml.

    item_types   the tables [items.TYPE]
    zone         of times that name none
    strict       for files that never change: whole lines, and users and items of the log are in their tables
    folder       its files are relative to it
    """

    events: Events
    items: Items | None = None
    item_types: Mapping[str, TypedItems] = {}
    users: Rows | None = None
    relations: Mapping[str, Pairs] = {}
    labels: Mapping[str, Label] = {}
    meaning: Meanings | None = None
    negatives: Negatives = Negatives()
    split: Split = Split()
    past: Past | None = None
    zone: str = "UTC"
    strict: bool = False
    name: str = ""
    folder: Path

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"zone = {self.zone!r}: expected a name such as Europe/Berlin") from error
        self._check_labels()
        if bool(self.events.path) == (self.split.files is not None):
            raise ValueError("the log needs either events.path or split.files: give one of the two")
        can_lack_times = self.split.by == "user" or self.split.has_parts
        if not self.has_times and (not can_lack_times or self.shape == "actions"):
            raise ValueError(
                "events.columns.time is missing. Name the column. If the log has no times, and no events, "
                'write by = "user" under [split]'
            )
        if self.has_times and self.split.by == "user":
            raise ValueError(
                'split.by = "user" is for logs without times: leave events.columns.time out, or by'
            )
        if not self.meanings.enjoyed:
            labels = list(self.label_names)
            raise ValueError(f"meaning.enjoyed is missing: name labels of {labels}, or leave out [meaning]")
        meanings = self.meanings
        for name in (*meanings.enjoyed, *meanings.liked, *meanings.followed, *meanings.consumed):
            if name not in self.label_names:
                raise ValueError(
                    f"meaning names {name!r}, which is not a label; labels are {list(self.label_names)}"
                )
        if self.past is not None:
            self._check_past(self.past)
        for name, table in self.item_types.items():
            self._check_item_type(name, table)

    def _check_item_type(self, name: str, table: TypedItems) -> None:
        if name in WORK_TYPES:
            role = f', and name their column: roles.{name} = "COLUMN"' if name in ROLES else ""
            raise ValueError(
                f"items.{name}: {name}s are made of [items] and [users]. Delete this table{role}"
            )
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"items.{name}: expected a name of letters, digits and _")
        is_role = isinstance(table.works, str)
        if is_role and not all(rows and table.works in rows.roles.named for rows in (table, self.items)):
            raise ValueError(
                f"items.{name}.works = {table.works!r} needs roles.{table.works} under [items.{name}] and "
                "under [items]"
            )

    def _check_labels(self) -> None:
        if self.events.columns.position is not None and not self.labels:
            raise ValueError("events.columns.position: a log of positives has no pages; leave the column out")
        by_event = {label.event is not None for label in self.labels.values()}
        if len(by_event) > 1:
            raise ValueError(
                "labels need either events or columns: give an event to all of them, or a column to all"
            )
        if True in by_event and (self.events.columns.event is None or self.events.view is None):
            raise ValueError(
                "labels that are events need events.columns.event and events.view, the event that means shown"
            )
        for name, label in self.labels.items():
            has_value = label.event is not None and label.at_least is not None
            if has_value and (self.events.columns.value is None or self.events.view in label.events):
                raise ValueError(
                    f"labels.{name}: at_least with an event needs events.columns.value and another event "
                    "than the view"
                )

    def _check_past(self, past: Past) -> None:
        if self.shape != "impressions" or self.split.begin is None:
            raise ValueError("past: expected labels that are columns, and split.begin")
        for name in past.labels:
            if name not in self.labels:
                raise ValueError(
                    f"past.labels names {name!r}, which is not a label; labels are {list(self.labels)}"
                )
        if not set(past.labels) & set(self.meanings.enjoyed):
            raise ValueError(
                f"past.labels: expected at least one that means enjoyed: {list(self.meanings.enjoyed)}"
            )

    @property
    def rows(self) -> dict[str, Rows]:
        """The tables with one row for an id, by key: items, users, items.TYPE."""
        tables = {"items": self.items, "users": self.users}
        types = {f"items.{name}": table for name, table in self.item_types.items()}
        return {key: table for key, table in {**tables, **types}.items() if table is not None}

    @property
    def has_times(self) -> bool:
        return self.events.columns.time is not None

    @property
    def shape(self) -> Literal["impressions", "actions", "positives"]:
        """What a row of the log is: an impression, an event, or a positive."""
        if not self.labels:
            return "positives"
        return "actions" if next(iter(self.labels.values())).event is not None else "impressions"

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self.labels) or (POSITIVE,)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Labels that models learn, the main one first."""
        return tuple(name for name, label in self.labels.items() if label.task) or self.label_names[:1]

    @property
    def meanings(self) -> Meaning:
        """The table [meaning]. Without it, the main task means enjoyed. Negatives of positives are drawn."""
        meaning = self.meaning or Meanings(enjoyed=self.tasks[:1])
        drawn = (POSITIVE,) if self.shape == "positives" else ()
        return Meaning(meaning.enjoyed, meaning.liked, meaning.followed, meaning.consumed or (), drawn)

    @property
    def consumption_labels(self) -> tuple[str, ...]:
        """Labels whose names mean consumption; empty if meaning.consumed is given."""
        if self.meaning is not None and self.meaning.consumed is not None:
            return ()
        names = {
            label: (label, *condition.events, condition.column or "")
            for label, condition in self.labels.items()
        }
        consumed = (label for label in names if any(is_consumption(name) for name in names[label]))
        return tuple(consumed) if self.labels else (POSITIVE,)

    def to_ms(self, moment: date) -> int:
        """Returns Unix milliseconds: of a day its start, of a moment without a zone in the contract's."""
        at = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
        at = at if at.tzinfo is not None else at.replace(tzinfo=ZoneInfo(self.zone))
        return round(at.timestamp() * 1000)


def read_contract(folder: Path) -> Contract:
    """Reads `folder/data.toml`. Raises ConfigError that names the key."""
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{path} is missing. Run karec data init {folder} to write one from the files")
    return _read(path, folder)


def preset_contract(name: str, root: Path) -> Contract:
    """Returns the preset for files in `root`, or in `root/data` if only that folder has the log."""
    path = _preset_path(name)
    log = _read(path, root).events.path
    is_in_data = not has_file(root / log) and has_file(root / "data" / log)
    return _read(path, root / "data" if is_in_data else root)


def preset_text(name: str) -> str:
    """Returns the data.toml of the preset, with comments."""
    return _preset_path(name).read_text(encoding="utf-8")


def is_consumption(name: str) -> bool:
    """Returns True if the name of a label, an event or a column means that a user consumes an item."""
    return re.search(CONSUMED, snake_case(name)) is not None


def has_file(path: Path) -> bool:
    """Returns True also for a symbolic link to a missing file, which is then reported by name."""
    return path.exists() or path.is_symlink()


def _preset_path(name: str) -> Path:
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return _PRESETS / f"{name}.toml"


def _read(path: Path, folder: Path) -> Contract:
    return convert_contract({"name": folder.resolve().name, **read_toml(path)}, Place(path), folder)


def convert_contract(table: dict[str, Any], place: Place, folder: Path) -> Contract:
    """Returns the contract of a TOML table, for files in ``folder``. Raises ConfigError as ``convert``."""
    types = _pop_item_types(table)
    item_types = {name: convert(TypedItems, entry, place["items"][name]) for name, entry in types.items()}
    return convert(Contract, table, place, given={"folder": folder, "item_types": item_types})


def _pop_item_types(table: dict[str, Any]) -> dict[str, Any]:
    """Removes the tables [items.TYPE] from ``table``, and [items] if it has no other key. Returns them."""
    items, types = table.get("items"), {}
    if isinstance(items, dict):
        for name, entry in [*items.items()]:
            if isinstance(entry, dict) and name not in Items.__struct_fields__ and entry.keys() & TYPE_KEYS:
                types[name] = items.pop(name)
        if types and not items:
            del table["items"]
    return types
