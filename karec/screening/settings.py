"""``screen.toml``, read and checked: what is uploaded, what is refused, what is kept.

keep = 100_000                                   # works of the window that are kept
uploads = "uploads"                              # day=YYYY-MM-DD/*.parquet, beside this file
rules = [                                        # the first that a work breaks is its reason
  { reason = "too short", column = "duration_s", least = 30 },
  { reason = "blocked creator", column = "creator_id", not_in = "blocked.txt" },
  { reason = "too old", age_days = 30 },
]
quotas = [                                       # shares of `keep`
  { column = "type", value = "video", floor = 0.3, cap = 0.7 },
  { age_days = 3, floor = 0.2 },
]
[quality]
model = "quality.onnx"                           # or: column = "voice_score"
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from karec.toml import Place, convert, read_toml

Value = str | int | bool
MOST_QUOTAS = 62  # bits of an integer
OWN_REASONS = ("no id", "no quality", "same id", "near duplicate", "quota", "kept", "uploads")


@dataclass(frozen=True)
class Columns:
    """What the uploads' columns are called."""

    work: str = "work_id"
    song: str = "song_id"
    vector: str = "content_vector"


@dataclass(frozen=True)
class Condition:
    """Works whose ``column`` is ``value``, or at ``least`` so much, or ``below`` so much."""

    column: str
    value: Value | None = None
    least: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        bounds = self.least is not None or self.below is not None
        if (self.value is not None) == bounds:
            raise ValueError(f"a condition on {self.column!r} needs value, or least and below")
        finite(least=self.least, below=self.below)
        if self.least is not None and self.below is not None and self.least >= self.below:
            raise ValueError(
                f"least = {self.least:g} is not less than below = {self.below:g}: no work is both"
            )

    def __str__(self) -> str:
        if self.value is not None:
            return f"{self.column} is {self.value}"
        least = "" if self.least is None else f"{self.least:g} ≤ "
        return f"{least}{self.column}" + ("" if self.below is None else f" < {self.below:g}")


@dataclass(frozen=True)
class Rule:
    """A work is rejected for ``reason`` where its ``column`` is less than ``least``, more than ``most``, or
    among the lines of the file ``not_in``; where it was uploaded ``age_days`` or more days before the
    window's last. With ``where`` the rule is for such works alone. A missing cell breaks the rule, under a
    reason of its own.
    """

    reason: str
    column: str | None = None
    least: float | None = None
    most: float | None = None
    not_in: str | None = None
    age_days: int | None = None
    where: Condition | None = None

    def __post_init__(self) -> None:
        if not self.reason or self.reason in OWN_REASONS:
            raise ValueError(
                f"reason = {self.reason!r} is a reason of screening's own, or empty: name it otherwise"
            )
        finite(least=self.least, most=self.most)
        bounds = self.least is not None or self.most is not None
        said = [bounds, self.not_in is not None, self.age_days is not None]
        if sum(said) != 1 or (self.column is None) != (self.age_days is not None):
            raise ValueError(f"rule {self.reason!r} needs a column with least, most or not_in; or age_days")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(
                f"rule {self.reason!r}: least = {self.least:g} > most = {self.most:g} rejects every work"
            )
        if self.age_days is not None and (self.age_days < 1 or self.where is not None):
            raise ValueError(f"rule {self.reason!r}: age_days is at least 1, and is for all works")

    @property
    def reasons(self) -> tuple[str, ...]:
        """``reason``, and before it those of works whose cell in ``where``, or in ``column``, is missing."""
        where = None if self.where is None else self.where.column
        missing = tuple(
            f"{self.reason}: {column} is missing" for column in (where, self.column) if column is not None
        )
        return (*dict.fromkeys(missing), self.reason)


@dataclass(frozen=True)
class Quota:
    """The share of ``keep`` that works of a kind have: at least ``floor``, at most ``cap``. The kind: a
    condition, as ``Condition`` says it, or uploaded less than ``age_days`` days before the window's end.
    """

    column: str | None = None
    value: Value | None = None
    least: float | None = None
    below: float | None = None
    age_days: int | None = None
    floor: float = 0.0
    cap: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if (self.column is None) == (self.age_days is None):
            raise ValueError("a quota needs a column or age_days, and not both")
        if self.age_days is not None and (
            self.age_days < 1 or (self.value, self.least, self.below) != (None,) * 3
        ):
            raise ValueError(
                f"quota {self.named!r}: age_days is at least 1, and goes without value, least and below"
            )
        _ = self.condition
        if not 0.0 <= self.floor <= 1.0 or not 0.0 <= self.cap <= 1.0:
            raise ValueError(f"quota {self.named!r}: floor and cap are shares from 0 to 1")
        if self.floor > self.cap:
            raise ValueError(f"quota {self.named!r}: floor = {self.floor:g} > cap = {self.cap:g}")
        if (self.floor, self.cap) == (0.0, 1.0):
            raise ValueError(f"quota {self.named!r}: it says neither floor nor cap")

    @property
    def condition(self) -> Condition | None:
        """None: the kind is an age."""
        return None if self.column is None else Condition(self.column, self.value, self.least, self.below)

    @property
    def named(self) -> str:
        return self.name or (
            f"younger than {self.age_days} days" if self.condition is None else str(self.condition)
        )


@dataclass(frozen=True)
class Quality:
    """What the better work is judged by: an ONNX ``model`` (karec screen --train writes one), or a
    ``column``."""

    model: str | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (self.column is None):
            raise ValueError("quality needs model or column, and not both")


@dataclass(frozen=True)
class NearDuplicates:
    """Of two works of one song and day whose content vectors' cosine is ``cosine`` or more, the better one
    stays."""

    cosine: float = 0.95

    def __post_init__(self) -> None:
        if not 0.5 <= self.cosine <= 1.0:
            raise ValueError(f"cosine = {self.cosine:g}: from 0.5 to 1")


@dataclass(frozen=True)
class Learn:
    """What the quality model learns from: ``outcomes``, a folder of day=YYYY-MM-DD/*.parquet of what later
    became of works; the uploads' columns ``features``, numbers; the days until ``until``. A work counts that
    had ``fair`` exposures or more.
    """

    features: tuple[str, ...]
    outcomes: str = "outcomes"
    work: str = "work_id"
    exposures: str = "exposures"
    long_views: str = "long_views"
    fair: int = 20
    until: date | None = None

    def __post_init__(self) -> None:
        if not self.features or len(set(self.features)) < len(self.features):
            raise ValueError("features names columns, each once")
        if self.fair < 1:
            raise ValueError(f"fair = {self.fair}: at least one exposure")


@dataclass(frozen=True)
class Settings:
    """A whole screen.toml; paths are relative to its ``folder``."""

    folder: Path
    uploads: str
    keep: int
    quality: Quality
    rules: tuple[Rule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    columns: Columns = Columns()
    near_duplicates: NearDuplicates | None = None
    learn: Learn | None = None
    missing_days: tuple[date, ...] = ()

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep = {self.keep}: at least one work")
        if len(self.quotas) > MOST_QUOTAS:
            raise ValueError(f"{len(self.quotas)} quotas, at most {MOST_QUOTAS}")
        reasons = [reason for rule in self.rules for reason in rule.reasons]
        for what, names in (("rules", reasons), ("quotas", [quota.named for quota in self.quotas])):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what}: {twice!r} stands there twice")
        if sum(rule.age_days is not None for rule in self.rules) > 1:
            raise ValueError("rules: age_days stands there twice")
        self._check_floors()

    def _check_floors(self) -> None:
        """Values of one column exclude each other, so their floors must leave room."""
        floors: dict[str, float] = {}
        for quota in self.quotas:
            if quota.column is not None and quota.value is not None:
                floors[quota.column] = floors.get(quota.column, 0.0) + quota.floor
        for column, total in floors.items():
            if total > 1.0 + 1e-9:
                raise ValueError(f"quotas: floors of values of {column!r} add up to {total:g}, more than 1")

    @property
    def most_days(self) -> int | None:
        """Days of the window; None: all that there are."""
        return next((rule.age_days for rule in self.rules if rule.age_days is not None), None)

    @property
    def old_reason(self) -> str | None:
        return next((rule.reason for rule in self.rules if rule.age_days is not None), None)


def finite(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{name} = {number}: a finite number is wanted")


def read_settings(path: Path) -> Settings:
    """Reads a screen.toml. Raises ConfigError with a line for each mistake."""
    return convert(Settings, read_toml(path), Place(path), given={"folder": path.parent})
