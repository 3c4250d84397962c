"""Settings of one table in a data.toml: its files, its columns and the checks of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from msgspec import structs

from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TAG, TYPE
from karec.toml import NonNegative, Positive, Settings

Bounds = tuple[int, int] | tuple[float, float] | tuple[date, date]
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]


class Check(Settings, frozen=True):
    """What the cells of `columns` hold. A row with another cell cannot be used.

    holds      integer: written without a point; whole: also 9.0; text: without control characters
    within     the smallest and the largest value
    matches    a regular expression (RE2) for the whole text
    required   no cell is missing
    """

    columns: tuple[str, ...]
    holds: Literal["integer", "whole", "number", "time", "text"]
    within: Bounds | None = None
    matches: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.matches is not None and self.holds != "text":
            raise ValueError(f"matches is for texts, the columns hold {self.holds!r}")
        if self.within is None:
            return
        has_dates = isinstance(self.within[0], date)
        if self.holds == "text" or has_dates != (self.holds == "time"):
            raise ValueError(
                f"within = {self.within}: bounds are numbers, or dates for a time; a text has none"
            )
        if not self.within[0] <= self.within[1]:  # type: ignore[operator]
            raise ValueError(f"within = {self.within}: expected the smallest value first")


class Files(Settings, frozen=True):
    """Files with the same columns: CSV, JSONL or Parquet.

    path        a file, a glob or a folder, relative to data.toml
    delimiter   of CSV. None: it is detected
    quoted      cells of CSV can be in quotes; if false, a quote is an ordinary letter
    """

    path: str
    delimiter: str | None = None
    quoted: bool = True
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    checks: tuple[Check, ...] = ()

    def check_of(self, column: str) -> Check | None:
        """Returns the first check that names `column`."""
        return next((check for check in self.checks if column in check.columns), None)


class ColumnNames(Settings, frozen=True):
    """Names of columns by role. None: the table has no such column."""

    @property
    def named(self) -> dict[str, str]:
        """The column of each role that the table has."""
        return {role: name for role, name in structs.asdict(self).items() if name is not None}


class EventColumns(ColumnNames, frozen=True):
    """Columns of the event log.

    time      only a log that is split by user, or into given parts, can lack it
    value     a number of an event, such as the stars of a rating
    position  place of the item on the page, from 1 or from 0
    day       when the row was written, 20220425 or 2022-04-25: the day of the time, or the next
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
    position: str | None = None


class Events(Files, frozen=True, kw_only=True):
    """The event log.

    path             empty if split.files names the files
    time_format      of strptime, such as "%d/%m/%Y %H:%M". None: numbers, ISO 8601, or a format that fits
    view             the event that means that an item was shown
    window_minutes   an action belongs to the user's last view of the item within this time before it
    scenes           {cell of the scene column: name}: all scenes, in their order
    repeats          rows of one user, item and moment: the first counts, or their labels are merged
    """

    path: str = ""
    columns: EventColumns
    time_unit: TimeUnit = "auto"
    time_format: str | None = None
    view: str | None = None
    window_minutes: float = 60.0
    scenes: Mapping[str, str] = {}
    repeats: Literal["merge", "first"] = "merge"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scenes and (self.columns.scene is None or len(set(self.scenes.values())) < len(self.scenes)):
            raise ValueError("scenes: expected a column scene in columns, and each name once")


class Roles(ColumnNames, frozen=True):
    """Columns of items with a meaning.

    vector   a list of numbers; or a .npy file next to data.toml with one row for each row of items
    """

    creator: str | None = None
    song: str | None = None
    type: str | None = None
    tag: str | None = None
    published: str | None = None
    vector: str | None = None

    @property
    def snapshot_names(self) -> dict[str, str]:
        """{column of the file: column of the snapshot}."""
        names = {"creator": CREATOR, "song": SONG, "type": TYPE, "tag": TAG, "published": PUBLISHED}
        return {column: names[role] for role, column in self.named.items() if role in names}

    @property
    def vector_file(self) -> str | None:
        return self.vector if self.vector is not None and self.vector.endswith(".npy") else None


class Log(Settings, frozen=True):
    """A feature: log(1 + column / unit), or log((1 + column) / (1 + over)).

    over      another column
    missing   the value of a missing cell. None: the feature is missing
    """

    column: str
    unit: Positive = 1.0
    over: str | None = None
    missing: NonNegative | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,) if self.over is None else (self.column, self.over)


class Rows(Files, frozen=True, kw_only=True):
    """A table with one row for an id. A column without a role is a feature.

    features     if not None, only these columns are features
    ignore       columns that are not features
    categories   columns of numbers that are names
    lists        {column: the separator of the values in a cell}
    logs         {feature: how it is computed}
    unknown      {column: cells that count as missing}
    missing      the name of a category's missing cells. None: they have no category
    """

    id: str
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    lists: Mapping[str, str] = {}
    logs: Mapping[str, Log] = {}
    features: tuple[str, ...] | None = None
    unknown: Mapping[str, tuple[str, ...]] = {}
    missing: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if "" in self.lists.values():
            raise ValueError("lists: a separator is empty, expected the text between two values")
        if self.features is not None and self.ignore:
            raise ValueError("features and ignore are both set, expected one of them")


class ValueColumns(ColumnNames, frozen=True):
    """Columns of a table of item and value. With `user`, a user counts once for an item and a value."""

    item: str
    value: str
    user: str | None = None


class ValueNames(Files, frozen=True, kw_only=True):
    """Names of values: one row for a value."""

    id: str
    name: str


class Values(Files, frozen=True, kw_only=True):
    """A table with an item and a value in each row, such as tags. An item has its most frequent values."""

    columns: ValueColumns
    names: ValueNames | None = None


class ItemRows(Rows, frozen=True, kw_only=True):
    """A table with one row for an item, whose columns may have roles."""

    roles: Roles = Roles()


class Items(ItemRows, frozen=True):
    """Every work that can be recommended. `values`: {column: a table of values}."""

    values: Mapping[str, Values] = {}


class Works(Files, frozen=True, kw_only=True):
    """A table with an item of another type and one of its works in each row."""

    item: str
    work: str


class TypedItems(ItemRows, frozen=True, kw_only=True):
    """Every item of a type other than works.

    works    a table of the works of each item; or a role: the works with the item's creator or song
    labels   labels that events of the type have, each means enjoyed. Empty: those of works
    """

    works: Works | Literal["creator", "song"]
    labels: tuple[str, ...] = ()


class PairColumns(ColumnNames, frozen=True, kw_only=True):
    to: str
    user: str
    time: str | None = None


class Pairs(Files, frozen=True, kw_only=True):
    """A relation of users: to creators (`follows`), to users (`friends`), or another."""

    columns: PairColumns
