"""Constraints on the exposure of items in one scene: the table ``[scenes.NAME.exposure]`` of a karec.toml.

    targets    = [{ column = "type", share = { "1" = 0.3 } }, { age_hours = 72, share = 0.4, minimum = true }]
    caps       = [{ column = "creator_id", share = 0.01 }]
    guarantees = [{ new_work_hours = 24, exposures = 20, budget = 40_000 }]
    fairness   = [{ column = "creator_id", weight = 1.0, exposures = 20 }, { weight = 1.0 }]

A share is a fraction of the scene's impressions. Each class checks its own values; ``ExposureSettings`` also
checks that no two constraints contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from karec.catalog.schema import CREATOR, PUBLISHED
from karec.index import ItemIndex
from karec.toml import Count, Fraction, NonNegativeInt, Settings

HOURS_PER_DAY = 24.0

Hours = Annotated[float, Meta(gt=0, le=1_000_000)]  # over a hundred years
Days = Annotated[float, Meta(gt=0, le=40_000)]
Deviations = Annotated[float, Meta(gt=0, le=100)]  # standard deviations of a request's scores


class Target(Settings, frozen=True):
    """Desired share of the impressions for values of an integer ``column``, or for items younger than
    ``age_hours``.

    share      {value: share}, or one share with ``age_hours``; in [0, 1]
    minimum    the group may have more than the share: its scores are raised, never lowered
    tolerance  largest accepted distance from the share; a target that is farther off while its dual variable
               is at the bound is reported as unmet
    """

    share: Mapping[str, float] | float
    column: str | None = None
    age_hours: Hours | None = None
    minimum: bool = False
    tolerance: Annotated[float, Meta(gt=0, lt=1)] = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.column is None) == (self.age_hours is None):
            raise ValueError("a target names either a column or age_hours")
        if self.column is not None and not isinstance(self.share, Mapping):
            raise ValueError(
                f'share = {self.share}, expected a share for each value: share = {{ "1" = 0.3 }}'
            )
        if self.age_hours is not None and isinstance(self.share, Mapping):
            raise ValueError("a target by age needs one number as its share")
        shares = self.shares()
        for value, share in shares.items():
            if not 0 <= share <= 1:
                name = f"the share of {value}" if value else "share"
                raise ValueError(f"{name} is {share:g}, expected 0 to 1")
            if isinstance(self.share, Mapping) and not _is_int64(value):
                raise ValueError(f"share: {value!r} is not a whole number; the keys are values of the column")
        if sum(shares.values()) > 1 + 1e-9:
            raise ValueError(
                f"the shares of {self.column} sum to {sum(shares.values()):g}, expected at most 1"
            )
        if not shares:
            raise ValueError("share is empty: name a value and its share")

    def shares(self) -> dict[str, float]:
        """Returns {value: share}; the value of a target by age is ""."""
        return dict(self.share) if isinstance(self.share, Mapping) else {"": self.share}


class Cap(Settings, frozen=True):
    """Largest ``share`` of the impressions of each value of the integer ``column``; negative values have no
    cap."""

    column: str
    share: Fraction

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share == 0:
            raise ValueError("share = 0 would leave every page empty; block the items in the index instead")


class GuaranteedExposure(Settings, frozen=True):
    """Number of impressions that each new item, or each new creator, gets while it is new.

    new_work_hours    an item is new for this time after its publication
    new_creator_days  a creator is new for this time after the publication of their first item
    budget            most impressions per day of items and creators that are below this guarantee
    """

    exposures: Count
    budget: Count
    new_work_hours: Hours | None = None
    new_creator_days: Days | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.new_work_hours is None) == (self.new_creator_days is None):
            raise ValueError("a guarantee names either new_work_hours or new_creator_days")
        if self.budget < self.exposures:
            raise ValueError(
                f"a budget of {self.budget} impressions per day is below the guarantee of {self.exposures} "
                f"exposures"
            )

    @property
    def hours(self) -> float:
        if self.new_work_hours is not None:
            return self.new_work_hours
        return (self.new_creator_days or 0) * HOURS_PER_DAY

    @property
    def is_for_items(self) -> bool:
        return self.new_work_hours is not None

    @property
    def name(self) -> str:
        """The name in reports and in the saved state."""
        if self.is_for_items:
            return f"works of {self.new_work_hours:g} h"
        return f"creators of {self.new_creator_days:g} d"


class FairnessPenalty(Settings, frozen=True):
    """Score penalty of recent exposure, for each value of the integer ``column``; without a column, for each
    item.

    A value with n impressions in the window has the penalty weight · n / (n + exposures).

    weight     the limit of the penalty, in standard deviations of a request's scores
    exposures  impressions at which the penalty is half of the weight
    """

    weight: Deviations
    column: str | None = None
    exposures: Annotated[float, Meta(gt=0, le=1_000_000_000)] = 1.0

    @property
    def name(self) -> str:
        """The name in reports and in the saved state."""
        return "works" if self.column is None else f"column {self.column}"


class ExposureSettings(Settings, frozen=True):
    """Exposure control of one scene: its constraints and how scores follow them.

    impressions_per_day  impressions of the scene per day; guarantees need it
    explore              most items of a page that are chosen among those below their guarantee
    rate                 step of a dual variable after ten impressions; it converges in about 1/rate pages
    bound                dual variables stay in −bound … bound standard deviations, those of caps in 0 … bound
    window_hours         time constant of the exposure counters
    """

    targets: tuple[Target, ...] = ()
    caps: tuple[Cap, ...] = ()
    guarantees: tuple[GuaranteedExposure, ...] = ()
    fairness: tuple[FairnessPenalty, ...] = ()
    impressions_per_day: Count | None = None
    explore: NonNegativeInt = 0
    rate: Annotated[float, Meta(gt=0, le=1)] = 0.01
    bound: Deviations = 3.0
    window_hours: Hours = 24.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.targets or self.caps or self.guarantees or self.fairness):
            raise ValueError("name a target, a cap, a guarantee or a fairness penalty")
        _check_columns_differ(self.targets, self.caps)
        _check_names_differ("fairness", [penalty.name for penalty in self.fairness])
        _check_ages(self.targets)
        if self.guarantees:
            self._check_guarantees()
        elif self.explore:
            raise ValueError(f"explore = {self.explore}, expected 0 without guarantees")

    def _check_guarantees(self) -> None:
        per_day = self.impressions_per_day
        if per_day is None:
            raise ValueError("guarantees need impressions_per_day of the scene, got None")
        budgets = sum(guarantee.budget for guarantee in self.guarantees)
        if budgets > per_day:
            raise ValueError(
                f"guarantees: the budgets sum to {budgets:,} impressions per day, the scene has {per_day:,}"
            )
        _check_names_differ("guarantees", [f"new {guarantee.name}" for guarantee in self.guarantees])
        for i, guarantee in enumerate(self.guarantees):
            for j, cap in enumerate(self.caps):
                limit = cap.share * per_day * guarantee.hours / HOURS_PER_DAY
                # the items of one creator may differ in every other column
                is_capped = guarantee.is_for_items or cap.column == CREATOR
                if is_capped and guarantee.exposures > limit:
                    kind = "item" if guarantee.is_for_items else "creator"
                    raise ValueError(
                        f"guarantees[{i}] is above caps[{j}]: a new {kind} gets {guarantee.exposures} "
                        f"impressions, the cap allows {limit:g} in {guarantee.hours:g} hours"
                    )

    @property
    def counted_columns(self) -> set[str]:
        """The columns whose values are counted: of caps, fairness penalties and guarantees of creators."""
        columns = {cap.column for cap in self.caps}
        columns |= {penalty.column for penalty in self.fairness if penalty.column is not None}
        return columns | {CREATOR for guarantee in self.guarantees if not guarantee.is_for_items}

    def check_columns(self, index: ItemIndex) -> None:
        """Raises ValueError if ``index`` lacks a column of a constraint, or has no integers there."""
        columns_by_place = [
            (f"targets[{i}]", target.column or PUBLISHED) for i, target in enumerate(self.targets)
        ]
        columns_by_place += [(f"caps[{i}]", cap.column) for i, cap in enumerate(self.caps)]
        columns_by_place += [
            (f"fairness[{i}]", p.column) for i, p in enumerate(self.fairness) if p.column is not None
        ]
        for i, guarantee in enumerate(self.guarantees):
            columns = (PUBLISHED,) if guarantee.is_for_items else (CREATOR, PUBLISHED)
            columns_by_place += [(f"guarantees[{i}]", column) for column in columns]
        for place, column in columns_by_place:
            if column not in index.columns:
                raise ValueError(
                    f"{place}: the item index has no column {column!r}; it has {sorted(index.columns)}"
                )
            dtype = index.columns[column].dtype
            if dtype.kind not in "iub":
                raise ValueError(f"{place}: the column {column!r} has dtype {dtype}, expected integers")


def _check_columns_differ(targets: Sequence[Target], caps: Sequence[Cap]) -> None:
    for kind, columns in (("targets", [t.column for t in targets]), ("caps", [cap.column for cap in caps])):
        for i, column in enumerate(columns):
            if column is not None and column in columns[:i]:
                first_position = columns.index(column)
                raise ValueError(
                    f"{kind}[{i}] and {kind}[{first_position}] both name the column {column!r}: merge them"
                )
    for i, target in enumerate(targets):
        for j, cap in enumerate(caps):
            for value, share in target.shares().items():
                if target.column == cap.column and share > cap.share:
                    raise ValueError(
                        f"targets[{i}] is above caps[{j}]: {cap.column} {value} has the target {share:g}, "
                        f"the cap is {cap.share:g}"
                    )


def _check_names_differ(key: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"{key}[{i}] and {key}[{names.index(name)}] are both for {name}: merge them")


def _check_ages(targets: Sequence[Target]) -> None:
    """Raises ValueError if a younger age group has a larger share than an older one, which contains it."""
    ages = sorted(
        (target.age_hours, target.shares()[""], f"targets[{i}]")
        for i, target in enumerate(targets)
        if target.age_hours
    )
    for (age, share, name), (older_age, older_share, older_name) in pairwise(ages):
        if age == older_age:
            raise ValueError(f"{name} and {older_name} both name items younger than {age:g} h: merge them")
        if share > older_share:
            raise ValueError(
                f"{name} has the share {share:g} for items younger than {age:g} h, and {older_name} "
                f"{older_share:g} for items younger than {older_age:g} h, which include them"
            )


def _is_int64(value: str) -> bool:
    """Returns True for a 64-bit integer in its one plain spelling: "01" would be "1" again."""
    try:
        return str(int(value)) == value and -(2**63) <= int(value) < 2**63
    except ValueError:
        return False
