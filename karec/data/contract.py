"""Reads a data.toml: the tables, the meaning of the labels and the split. See docs/data.md.

A preset is a data.toml of this package, for the files of a public data set as they are downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from karec.catalog.schema import Meaning
from karec.data.infer_schema import snake_case
from karec.data.table_settings import Events, Items, Pairs, Rows
from karec.errors import ConfigError
from karec.toml import Count, Fraction, NonNegative, Place, Settings, convert, read_toml

FILE = "data.toml"
POSITIVE = "positive"  # the label of a log that has only positives
CONSUMED = (  # a name of a label by which a user consumes an item
    r"(^|_)(buy|bought|purchas\w*|order\w*|pay|paid|payment|transaction|checkout|rate|rated|rating|review\w*)"
    r"s?(_|$)"
)
_PRESETS = Path(__file__).parent / "presets"
PRESETS = tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


class Label(Settings, frozen=True):
    """The condition under which an impression is positive.

    event               this event, or one of several, happened, with a value of at least `at_least` if given
    column              the cell is not 0, or equals `equals`, or is at least `at_least`
    at_least_share_of   the cell is at least `share` of the cell of this column
    weight              weight of the label in the score that orders pages
    task                models learn the label
    """

    event: str | tuple[str, ...] | None = None
    column: str | None = None
    equals: str | None = None
    at_least: float | None = None
    at_least_share_of: str | None = None
    share: float = 1.0
    weight: NonNegative = 1.0
    task: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.event is None) == (self.column is None):
            raise ValueError("a label needs an event or a column: give one of the two")
        conditions = ("equals", "at_least", "at_least_share_of")
        given_names = [name for name in conditions if getattr(self, name) is not None]
        if len(given_names) > 1 or (given_names not in ([], ["at_least"]) and self.column is None):
            raise ValueError(
                f"{' and '.join(given_names)}: at most one of them, with a column, or at_least with an event"
            )

    @property
    def events(self) -> tuple[str, ...]:
        return (self.event,) if isinstance(self.event, str) else self.event or ()


class Meanings(Settings, frozen=True):
    """Labels by their meaning, see ``karec.catalog.schema.Meaning``.

    consumed    None: decided by the repeats in the log, for labels whose names mean consumption
    """

    enjoyed: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    consumed: tuple[str, ...] | None = None


class Negatives(Settings, frozen=True):
    """Negatives for a log that has only positives.

    per_positive   items drawn for each positive, which the user has not taken by the end of their part
    popularity     an item is drawn with probability ∝ (its positives + 1)^popularity
    """

    per_positive: Count = 4
    popularity: Fraction = 0.5


class Begin(Settings, frozen=True):
    """Days or moments at which parts of the log begin."""

    training: date | datetime
    validation: date | datetime
    test: date | datetime


class Parts(Settings, frozen=True):
    """Files, globs or folders of the parts of the log. Without validation, the end of train is validation."""

    train: str
    test: str
    validation: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of train, validation and test. An absent validation is an empty text."""
        return self.train, self.validation or "", self.test


class Split(Settings, frozen=True):
    """Parts of the log, in order of time: history, training, validation, test.

    history      fraction of impressions that only make histories and counters
    begin        moments in place of fractions
    by           user: a log without times; fractions of the rows of each user, in a random order
                 last: the last positive of each user is the test, the one before validation
    files        files of the parts, in place of events.path
    column       column of the log with the part: train, validation or test
    """

    history: float = 0.1
    validation: float = 0.1
    test: float = 0.1
    begin: Begin | None = None
    by: Literal["time", "user", "last"] = "time"
    files: Parts | None = None
    column: str | None = None

    @property
    def has_parts(self) -> bool:
        """True if files or a column give the part of each row."""
        return self.files is not None or self.column is not None

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = [self.history, self.validation, self.test]
        if not all(0 <= share < 1 for share in shares) or not sum(shares) < 1 or not min(shares[1:]) > 0:
            raise ValueError(
                f"expected fractions ≥ 0 with a sum below 1, and validation and test above 0, got {self}"
            )
        ways = {"begin": self.begin, "by": self.by != "time", "files": self.files, "column": self.column}
        given_ways = [name for name, way in ways.items() if way]
        if len(given_ways) > 1:
            raise ValueError(f"{' and '.join(given_ways)} are given, expected at most one of them")


class Past(Settings, frozen=True):
    """Lists of items that users saw before `split.begin.training`.

    path     a Parquet table, a row for a user. If it is missing, lists are made of earlier rows of the log
    user     column with the id
    count    column with the number of items shown in all
    shown    column with the last items shown, oldest first
    labels   {label: column with the last items that have it}
    log      an earlier part of the log; it can be missing
    kept     length of the longest list
    """

    path: str
    user: str
    count: str
    shown: str
    labels: Mapping[str, str]
    log: str | None = None
    kept: Count = 50


class Contract(Settings, frozen=True, kw_only=True):
    """A data.toml.

    zone     of times that name none
    strict   for files that never change: whole lines, and users and items of the log are in their tables
    folder   its files are relative to it
    """

    events: Events
    items: Items | None = None
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
                "events.columns.time is missing: name the column; a log without times whose labels are no "
                'events is split by user: write by = "user" under [split]'
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
    def maybe_consumed(self) -> tuple[str, ...]:
        """Labels that mean consumed by their names, if meaning.consumed is missing."""
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
    table = {"name": folder.resolve().name, **read_toml(path)}
    return convert(Contract, table, Place(path), given={"folder": folder})
