"""``data.toml``: where the files are, which column is what, and what the labels mean; see
docs/howto-own-data.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TAG, TYPE, Meaning
from karec.data.cells import Check, Log
from karec.errors import ConfigError
from karec.toml import Place, convert, read_toml

FILE = "data.toml"
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]


@dataclass(frozen=True)
class Files:
    """A table's files: ``path`` is a file, a glob or a folder, from the folder of data.toml. CSV, JSONL or
    Parquet. ``quoted``: a cell of CSV may stand in quotes; without it a quote is a letter.
    """

    path: str
    delimiter: str | None = None
    quoted: bool = True
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"


@dataclass(frozen=True)
class EventColumns:
    """The names of the log's columns. ``user`` and ``item`` must be there, and ``time`` but in a log of
    positives alone that is split by user. ``day``: when the row was written, yyyymmdd or ISO 8601; it is the
    day of the time, or the next, in the contract's zone. ``value``: a number that comes with an event, such
    as the stars of a rating.
    """

    user: str
    item: str
    time: str | None = None
    event: str | None = None
    value: str | None = None
    request: str | None = None
    scene: str | None = None
    play_ms: str | None = None
    day: str | None = None


@dataclass(frozen=True)
class Events(Files):
    """The log. ``view`` names the event that says that an item was shown; in a log of actions, an action
    belongs to the last view of the item by the user within ``window_minutes`` before it, or to the view of
    its request. ``scenes``: {cell of the column scene: name}, all that there are, in their order.
    ``repeats``: of rows of one user, item and moment the ``first`` in the files counts, or they ``merge``:
    what one of them says is said.
    """

    columns: EventColumns = field(kw_only=True)
    time_unit: TimeUnit = field(default="auto", kw_only=True)
    view: str | None = field(default=None, kw_only=True)
    window_minutes: float = field(default=60.0, kw_only=True)
    scenes: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    repeats: Literal["merge", "first"] = field(default="merge", kw_only=True)
    checks: tuple[Check, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.scenes and (self.columns.scene is None or len(set(self.scenes.values())) < len(self.scenes)):
            raise ValueError("scenes: a column scene in columns, and each name once, are wanted")


@dataclass(frozen=True)
class Label:
    """When an exposure is positive: ``event`` happened to it, with a value that is ``at_least`` a number
    where that is said; or ``column`` is not 0, is ``equals``, is ``at_least`` a
    number, or is at least ``share`` of the column ``at_least_share_of``. ``weight`` in the score of feeds;
    ``task``: models learn it.
    """

    event: str | None = None
    column: str | None = None
    equals: str | None = None
    at_least: float | None = None
    at_least_share_of: str | None = None
    share: float = 1.0
    weight: float = 1.0
    task: bool = True

    def __post_init__(self) -> None:
        if (self.event is None) == (self.column is None):
            raise ValueError("a label is said by an event or by a column: give one of the two")
        given = [
            name for name in ("equals", "at_least", "at_least_share_of") if getattr(self, name) is not None
        ]
        if len(given) > 1 or (given not in ([], ["at_least"]) and self.column is None):
            raise ValueError(
                f"{' and '.join(given)}: at most one of them, beside a column, or at_least beside an event"
            )
        if not self.weight >= 0:
            raise ValueError(f"weight = {self.weight}, expected at least 0")


@dataclass(frozen=True)
class Roles:
    """Columns of items with a meaning. ``vector``: a list of numbers, of the same length for every item; or a
    file that ends with .npy, beside data.toml, with a row for each row of items, in their order.
    """

    creator: str | None = None
    song: str | None = None
    type: str | None = None
    tag: str | None = None
    published: str | None = None
    vector: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """{column of the file: name of the role's column in a snapshot}."""
        names = {"creator": CREATOR, "song": SONG, "type": TYPE, "tag": TAG, "published": PUBLISHED}
        return {getattr(self, role): name for role, name in names.items() if getattr(self, role) is not None}


@dataclass(frozen=True)
class Rows(Files):
    """A row an ``id``. A column that is no role is a feature, but those of ``ignore``; where ``features`` are
    named, only they are. ``categories``: columns whose numbers are names of kinds. ``lists``: {column: what
    stands between the values that its cells hold}. ``logs``: {feature: the columns that it is made of}.
    ``unknown``: {column: cells that say that nothing is known}. ``missing`` names a category's cells that are
    missing: they are one like others.
    """

    id: str = field(kw_only=True)
    ignore: tuple[str, ...] = field(default=(), kw_only=True)
    categories: tuple[str, ...] = field(default=(), kw_only=True)
    lists: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    logs: Mapping[str, Log] = field(default_factory=dict, kw_only=True)
    features: tuple[str, ...] | None = field(default=None, kw_only=True)
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict, kw_only=True)
    missing: str | None = field(default=None, kw_only=True)
    checks: tuple[Check, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if "" in self.lists.values():
            raise ValueError("lists: what stands between values cannot be empty")
        if self.features is not None and self.ignore:
            raise ValueError("features and ignore: say one of them")


@dataclass(frozen=True)
class ValueColumns:
    """``user``: who gave the item the value; a user counts once for both."""

    item: str
    value: str
    user: str | None = None


@dataclass(frozen=True)
class ValueNames(Files):
    """What values are called: a row a value; the column ``id`` holds it, ``name`` its name."""

    id: str = field(kw_only=True)
    name: str = field(kw_only=True)
    checks: tuple[Check, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Values(Files):
    """A table of pairs, an item and a value each, such as the tags that users gave items. The values that
    stand most often with an item are its own. ``names``: where values are called otherwise than they stand
    here.
    """

    columns: ValueColumns = field(kw_only=True)
    names: ValueNames | None = field(default=None, kw_only=True)
    checks: tuple[Check, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Items(Rows):
    """Every item that may be recommended. ``values``: {column: a table of pairs}."""

    roles: Roles = field(default_factory=Roles, kw_only=True)
    values: Mapping[str, Values] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Users(Rows):
    """What is known of users; of others nothing is."""


@dataclass(frozen=True)
class PairColumns:
    to: str
    user: str
    time: str | None = None


@dataclass(frozen=True)
class Pairs(Files):
    """A relation of users: to creators (``follows``), to users (``friends``), or another."""

    columns: PairColumns = field(kw_only=True)
    checks: tuple[Check, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Negatives:
    """For a log of positives alone: so many items for each, drawn among those that the user has no positive
    of, with a chance that grows with how often an item is taken, to the power ``popularity``.
    """

    per_positive: int = 4
    popularity: float = 0.5

    def __post_init__(self) -> None:
        if self.per_positive <= 0 or not 0 <= self.popularity <= 1:
            raise ValueError(f"per_positive > 0 and popularity in 0 … 1 are wanted, got {self}")


@dataclass(frozen=True)
class Begin:
    """Days or moments at which parts of the log begin; without a zone in the contract's."""

    training: date | datetime
    validation: date | datetime
    test: date | datetime


@dataclass(frozen=True)
class Split:
    """Shares of the exposures, in order of time: the first ``history`` make histories and counters only; the
    last ``test`` are the test, the ``validation`` before them choose settings, the rest train. Or moments:
    ``begin``. ``by`` "user": of a log without times, shares of each user's positives, in an order drawn from
    ``seed``.
    """

    history: float = 0.2
    validation: float = 0.1
    test: float = 0.1
    begin: Begin | None = None
    by: Literal["time", "user"] = "time"
    seed: int = 0

    def __post_init__(self) -> None:
        shares = [self.history, self.validation, self.test]
        if not all(0 <= share < 1 for share in shares) or not sum(shares) < 1 or not min(shares[1:]) > 0:
            raise ValueError(
                f"shares ≥ 0 that leave something to train on are wanted, validation and test > 0, got {self}"
            )


@dataclass(frozen=True)
class Past:
    """What users did before ``split.begin.training``, as lists of items without moments: ``path`` is a table
    of them, in Parquet: a row a ``user``, ``shown`` and a column for each of ``labels`` hold the last items,
    oldest first, ``count`` how many were shown in all. Where there is no such file, the lists are made of the
    log's rows of before, and of the file ``log``, an earlier part of it that may be missing too. A list holds
    ``kept`` items at most.
    """

    path: str
    user: str
    count: str
    shown: str
    labels: Mapping[str, str]
    log: str | None = None
    kept: int = 50

    def __post_init__(self) -> None:
        if self.kept <= 0:
            raise ValueError(f"kept > 0 is wanted, got {self.kept}")


@dataclass(frozen=True)
class Contract:
    """A data.toml. ``folder`` is where its files lie. ``zone``: of times that name none. ``strict``, for
    files that never change: they are whole lines, the last one too, each user and item of the log stands in
    its table, and users of relations, and friends, are known.
    """

    events: Events
    items: Items | None = None
    users: Users | None = None
    relations: Mapping[str, Pairs] = field(default_factory=dict)
    labels: Mapping[str, Label] = field(default_factory=dict)
    meaning: Meaning | None = None
    negatives: Negatives = field(default_factory=Negatives)
    split: Split = field(default_factory=Split)
    past: Past | None = None
    zone: str = "UTC"
    strict: bool = False
    name: str = ""
    folder: Path = field(kw_only=True)

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"zone = {self.zone!r}: a name such as Europe/Berlin is wanted") from error
        said = {label.event is not None for label in self.labels.values()}
        if len(said) > 1:
            raise ValueError(
                "labels are said by events or by columns, not some by the one and some by the other"
            )
        if True in said and (self.events.columns.event is None or self.events.view is None):
            raise ValueError(
                "labels that are events need events.columns.event and events.view, the event that says shown"
            )
        if self.events.columns.time is None and (self.split.by == "time" or self.labels):
            raise ValueError(
                "events.columns.time is missing: name the column; a log of positives alone that has no "
                "times, and no "
                'labels, is split by user: write by = "user" under [split]'
            )
        if self.split.by == "user" and self.events.columns.time is not None:
            raise ValueError(
                'split.by = "user" is for logs without times: leave events.columns.time out, or by'
            )
        for name, label in self.labels.items():
            valued = label.event is not None and label.at_least is not None
            if valued and (self.events.columns.value is None or label.event == self.events.view):
                raise ValueError(
                    f"labels.{name}: at_least with an event needs events.columns.value and another event "
                    f"than the view"
                )
        if not self.said.enjoyed:
            labels = list(self.label_names)
            raise ValueError(f"meaning.enjoyed is missing: name labels of {labels}, or leave out [meaning]")
        for name in (*self.said.enjoyed, *self.said.liked, *self.said.followed):
            if self.labels and name not in self.labels:
                raise ValueError(f"meaning names {name!r}, which is no label; labels are {list(self.labels)}")
        if self.past is not None:
            self._check_past(self.past)

    def _check_past(self, past: Past) -> None:
        if self.shape != "impressions" or self.split.begin is None:
            raise ValueError("past: labels that are columns, and split.begin, are wanted")
        for name in past.labels:
            if name not in self.labels:
                raise ValueError(
                    f"past.labels names {name!r}, which is no label; labels are {list(self.labels)}"
                )
        if not set(past.labels) & set(self.said.enjoyed):
            raise ValueError(f"past.labels: none of them says enjoyed, which {list(self.said.enjoyed)} do")

    @property
    def shape(self) -> Literal["impressions", "actions", "positives"]:
        """impressions: a row an exposure; actions: a row an event; positives: a row a positive, no other is
        known."""
        if not self.labels:
            return "positives"
        return "actions" if next(iter(self.labels.values())).event is not None else "impressions"

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self.labels) or (POSITIVE,)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What models learn, the main one first."""
        return tuple(name for name, label in self.labels.items() if label.task) or self.label_names[:1]

    @property
    def said(self) -> Meaning:
        """The table [meaning]; without it, the main task says enjoyed. Negatives of positives alone are
        drawn."""
        said = self.meaning if self.meaning is not None else Meaning(enjoyed=self.tasks[:1])
        return replace(said, drawn=(POSITIVE,)) if self.shape == "positives" else said


POSITIVE = "positive"  # the label of a log of positives alone


def read_contract(folder: Path) -> Contract:
    """``folder/data.toml``. Raises ConfigError naming the key."""
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{path} is missing: karec data init {folder} writes one by looking at the files")
    return contract_of(path, folder)


def contract_of(path: Path, folder: Path) -> Contract:
    """The data.toml at ``path``, of files in ``folder``."""
    table = {"name": folder.resolve().name, **read_toml(path)}
    return convert(Contract, table, Place(path), given={"folder": folder})
