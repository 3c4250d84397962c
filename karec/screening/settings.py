"""Settings of screening from a screen.toml: the uploads, the rules that reject them, and the works to keep.

keep = 100_000                                   # works of the window that are kept
uploads = "uploads"                              # day=YYYY-MM-DD/*.parquet, next to this file
rules = [                                        # the first that a work breaks is its reason
  { reason = "too short", column = "duration_s", min = 30 },
  { reason = "blocked creator", column = "creator_id", not_in = "blocked.txt" },
  { reason = "too old", age_days = 30 },
]
quotas = [                                       # fractions of `keep`
  { column = "type", value = "video", floor = 0.3, cap = 0.7 },
  { age_days = 3, floor = 0.2 },
]
[quality]
model = "quality.onnx"                           # or: column = "voice_score"
min = 0.1                                        # works with a lower quality are rejected
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from karec.toml import Count, Fraction, Place, Settings, convert, read_toml

Value = str | int | bool
MAX_QUOTAS = 62  # bits of an integer
NO_QUALITY, LOW_QUALITY = "no quality", "low quality"
OWN_REASONS = ("no id", NO_QUALITY, LOW_QUALITY, "same id", "near duplicate", "quota", "kept", "uploads")


class Columns(Settings, frozen=True):
    """The names of the columns of the uploads."""

    work: str = "work_id"
    song: str = "song_id"
    vector: str = "content_vector"
    creator: str = "creator_id"


class Condition(Settings, frozen=True):
    """Works whose `column` is `value`, or is at least `min`, or is below `below`."""

    column: str
    value: Value | None = None
    min: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        has_bounds = self.min is not None or self.below is not None
        if (self.value is not None) == has_bounds:
            raise ValueError(f"a condition on {self.column!r} needs value, or min and below")
        if self.min is not None and self.below is not None and self.min >= self.below:
            raise ValueError(
                f"min = {self.min:g}, expected less than below = {self.below:g}: no work is both"
            )

    def __str__(self) -> str:
        if self.value is not None:
            return f"{self.column} is {self.value}"
        lower = "" if self.min is None else f"{self.min:g} ≤ "
        return f"{lower}{self.column}" + ("" if self.below is None else f" < {self.below:g}")


class Rule(Settings, frozen=True):
    """Rejects a work if its `column` is out of range, or is a line of a file, or if the work is too old.

    A missing cell breaks the rule, with a reason of its own.

    reason     the name of the rejection
    min        the smallest value that is kept
    max        the largest value that is kept
    not_in     a file; a work whose cell is one of its lines is rejected
    age_days   works uploaded this many days or more before the last day of the window are rejected
    where      the works that the rule applies to; None: all
    """

    reason: str
    column: str | None = None
    min: float | None = None
    max: float | None = None
    not_in: str | None = None
    age_days: Count | None = None
    where: Condition | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reason or self.reason in OWN_REASONS:
            raise ValueError(
                f"reason = {self.reason!r}, expected a text that is none of screening's own {OWN_REASONS}"
            )
        has_bounds = self.min is not None or self.max is not None
        tests = [has_bounds, self.not_in is not None, self.age_days is not None]
        if sum(tests) != 1 or (self.column is None) != (self.age_days is not None):
            raise ValueError(f"rule {self.reason!r} needs a column with min, max or not_in; or age_days")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(
                f"rule {self.reason!r}: min = {self.min:g} > max = {self.max:g} rejects every work"
            )
        if self.age_days is not None and self.where is not None:
            raise ValueError(f"rule {self.reason!r}: age_days applies to all works, without where")

    @property
    def reasons(self) -> tuple[str, ...]:
        """`reason`, after the reasons of works whose cell in `where` or in `column` is missing."""
        where = None if self.where is None else self.where.column
        missing = tuple(
            f"{self.reason}: {column} is missing" for column in (where, self.column) if column is not None
        )
        return (*dict.fromkeys(missing), self.reason)


class Quota(Settings, frozen=True):
    """The fraction of `keep` that a group of works has: at least `floor`, at most `cap`.

    The group is a condition, with the keys of `Condition`, or the works uploaded less than `age_days` days
    before the end of the window.
    """

    column: str | None = None
    value: Value | None = None
    min: float | None = None
    below: float | None = None
    age_days: Count | None = None
    floor: Fraction = 0.0
    cap: Fraction = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.column is None) == (self.age_days is None):
            raise ValueError("a quota needs a column or age_days, and not both")
        if self.age_days is not None and (self.value, self.min, self.below) != (None,) * 3:
            raise ValueError(f"quota {self.named!r}: age_days goes without value, min and below")
        _ = self.condition
        if self.floor > self.cap:
            raise ValueError(f"quota {self.named!r}: floor = {self.floor:g} > cap = {self.cap:g}")
        if (self.floor, self.cap) == (0.0, 1.0):
            raise ValueError(f"quota {self.named!r} needs floor or cap")

    @property
    def condition(self) -> Condition | None:
        """The condition of the group; None if the group is an age."""
        if self.column is None:
            return None
        return Condition(column=self.column, value=self.value, min=self.min, below=self.below)

    @property
    def named(self) -> str:
        return self.name or (
            f"younger than {self.age_days} days" if self.condition is None else str(self.condition)
        )


class Quality(Settings, frozen=True):
    """The score of a work: an ONNX `model` (karec screen --train writes one), or a `column`.

    min   works with a lower score are rejected
    """

    model: str | None = None
    column: str | None = None
    min: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.model is None) == (self.column is None):
            raise ValueError("quality needs model or column, and not both")


class NearDuplicates(Settings, frozen=True):
    """Of two works of one song and day with similar content vectors the better one is kept.

    cosine   of the content vectors, from which two works are similar
    """

    cosine: Annotated[float, Meta(ge=0.5, le=1)] = 0.95


class Learn(Settings, frozen=True):
    """The training data of the quality model.

    features       numeric columns of the uploads
    outcomes       folder of day=YYYY-MM-DD/*.parquet with the later exposures and long views of works
    min_exposures  smallest number of exposures of a work that is used
    last_day       the last day that is used; None: all
    """

    features: tuple[str, ...]
    outcomes: str = "outcomes"
    work: str = "work_id"
    exposures: str = "exposures"
    long_views: str = "long_views"
    min_exposures: Count = 20
    last_day: date | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(f"features = {[*self.features]}, expected columns, each of them once")


class ScreeningSettings(Settings, frozen=True):
    """A whole screen.toml. Paths are relative to its `folder`."""

    folder: Path
    uploads: str
    keep: Count
    quality: Quality
    rules: tuple[Rule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    columns: Columns = Columns()
    near_duplicates: NearDuplicates | None = None
    learn: Learn | None = None
    missing_days: tuple[date, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.quotas) > MAX_QUOTAS:
            raise ValueError(f"{len(self.quotas)} quotas, expected at most {MAX_QUOTAS}")
        reasons = [reason for rule in self.rules for reason in rule.reasons]
        for table, names in (("rules", reasons), ("quotas", [quota.named for quota in self.quotas])):
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise ValueError(f"{table}: {repeated!r} appears twice")
        if sum(rule.age_days is not None for rule in self.rules) > 1:
            raise ValueError("rules: age_days appears twice")
        self._check_floors()

    def _check_floors(self) -> None:
        """Values of one column exclude each other, so their floors must sum to 1 at most."""
        floors: dict[str, float] = {}
        for quota in self.quotas:
            if quota.column is not None and quota.value is not None:
                floors[quota.column] = floors.get(quota.column, 0.0) + quota.floor
        for column, total in floors.items():
            if total > 1.0 + 1e-9:
                raise ValueError(f"quotas: floors of values of {column!r} add up to {total:g}, more than 1")

    @property
    def max_days(self) -> int | None:
        """The days of the window; None: all days that exist."""
        return next((rule.age_days for rule in self.rules if rule.age_days is not None), None)

    @property
    def old_reason(self) -> str | None:
        """The reason of works older than the window."""
        return next((rule.reason for rule in self.rules if rule.age_days is not None), None)


def read_settings(path: Path) -> ScreeningSettings:
    """Reads a screen.toml. Raises ConfigError with a line for each mistake."""
    return convert(ScreeningSettings, read_toml(path), Place(path), given={"folder": path.parent})
