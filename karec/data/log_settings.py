"""Settings of the log in a data.toml: labels and their meaning, negatives, and the split."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from karec.toml import Count, Fraction, NonNegative, Settings


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
