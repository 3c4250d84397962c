"""What a scene wants of exposure, as its table ``exposure`` says it, and what contradicts itself there.

    targets = [{ column = "type", share = { "1" = 0.3 } }, { age_hours = 72, share = 0.4 }]
    caps    = [{ column = "creator_id", share = 0.01 }]
    floors  = [{ new_work_hours = 24, exposures = 20, budget = 40_000 }]
    spread  = [{ column = "creator_id", weight = 1.0, exposures = 20 }, { weight = 1.0 }]

Shares are of the places that feeds show. Each class refuses by ValueError what is wrong in itself;
``check_together`` refuses what two entries cannot both have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from karec.catalog.schema import CREATOR, PUBLISHED
from karec.index import ItemIndex

HOURS_A_DAY = 24.0
MOST_HOURS = 1e6  # over a hundred years
MOST_WEIGHT = 100.0  # standard deviations
MOST_EXPOSURES = 1e9


@dataclass(frozen=True)
class Target:
    """A share of the places, for each named value of an integer ``column``, or for works younger than
    ``age_hours``.

    share      {value: share}, or one share for ``age_hours``; in [0, 1]
    tolerance  a target farther off than this with its price at the bound is told as unmet
    """

    share: Mapping[str, float] | float
    column: str | None = None
    age_hours: float | None = None
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        if (self.column is None) == (self.age_hours is None):
            raise ValueError("a target names either a column or age_hours")
        if self.column is not None and not isinstance(self.share, Mapping):
            raise ValueError(
                f'share = {self.share}, expected a share for each value: share = {{ "1" = 0.3 }}'
            )
        if self.age_hours is not None and (
            isinstance(self.share, Mapping) or not 0 < self.age_hours < MOST_HOURS
        ):
            raise ValueError("a target by age needs age_hours above 0 and one number as its share")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be above 0 and below 1, got {self.tolerance}")
        for value, share in self.shares().items():
            _check_share(f"the share of {value}" if value else "share", share)
            if isinstance(self.share, Mapping) and not _is_number(value):
                raise ValueError(f"share: {value!r} is no whole number; the keys are values of the column")
        if sum(self.shares().values()) > 1 + 1e-9:
            raise ValueError(
                f"the shares of {self.column} sum to {sum(self.shares().values()):g}, expected at most 1"
            )
        if not self.shares():
            raise ValueError("share is empty: name a value and its share")

    def shares(self) -> dict[str, float]:
        """{value: share}; the value of a target by age is ""."""
        return dict(self.share) if isinstance(self.share, Mapping) else {"": self.share}


@dataclass(frozen=True)
class Cap:
    """Each value of the integer ``column`` gets at most ``share`` of the places; negative values have no
    cap."""

    column: str
    share: float

    def __post_init__(self) -> None:
        _check_share("share", self.share)
        if self.share == 0:
            raise ValueError("share = 0 would leave every feed empty; block works in the index instead")


@dataclass(frozen=True)
class Floor:
    """Each new work, or each new creator, is shown ``exposures`` times while it is new.

    new_work_hours    a work is new for so long after it is published
    new_creator_days  a creator is new for so long after the first of its works is published
    budget            at most so many places a day go to works and creators that are behind this floor
    """

    exposures: int
    budget: int
    new_work_hours: float | None = None
    new_creator_days: float | None = None

    def __post_init__(self) -> None:
        if (self.new_work_hours is None) == (self.new_creator_days is None):
            raise ValueError("a floor names either new_work_hours or new_creator_days")
        if not 0 < self.hours < MOST_HOURS:
            raise ValueError(f"new must last longer than 0, got {self.hours:g} hours")
        if self.exposures <= 0:
            raise ValueError(f"exposures must be positive, got {self.exposures}")
        if self.budget < self.exposures:
            raise ValueError(
                f"a budget of {self.budget} places a day is below the floor of {self.exposures} exposures"
            )

    @property
    def hours(self) -> float:
        return (
            self.new_work_hours
            if self.new_work_hours is not None
            else (self.new_creator_days or 0) * HOURS_A_DAY
        )

    @property
    def of_works(self) -> bool:
        return self.new_work_hours is not None

    @property
    def name(self) -> str:
        return (
            f"works of {self.new_work_hours:g} h"
            if self.of_works
            else f"creators of {self.new_creator_days:g} d"
        )


@dataclass(frozen=True)
class Spread:
    """Each exposure of a value of the integer ``column`` makes its next one cost more; without a column, of a
    work.

    A value that was shown n times in the window costs weight · n / (n + exposures).

    weight     what a value costs at most, in standard deviations of a request's scores
    exposures  a value that was shown so often costs half of that
    """

    weight: float
    column: str | None = None
    exposures: float = 1.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("weight", self.weight, MOST_WEIGHT),
            ("exposures", self.exposures, MOST_EXPOSURES),
        ):
            if not 0 < value <= most:
                raise ValueError(f"{name} is {value:g}, expected a number above 0 and at most {most:g}")

    @property
    def name(self) -> str:
        return "works" if self.column is None else f"column {self.column}"


def check_together(
    targets: Sequence[Target],
    caps: Sequence[Cap],
    floors: Sequence[Floor],
    spread: Sequence[Spread],
    places_a_day: int | None,
) -> None:
    """Raises ValueError naming two entries that contradict each other, or budgets that the places do not
    cover.

    ``places_a_day``: how many works the scene shows a day; floors need it.
    """
    _check_once(targets, caps)
    _check_names_once("spread", [each.name for each in spread])
    _check_ages(targets)
    if not floors:
        return
    if places_a_day is None or places_a_day <= 0:
        raise ValueError(
            f"floors need places_a_day, how many works the scene shows a day, got {places_a_day}"
        )
    budgets = sum(floor.budget for floor in floors)
    if budgets > places_a_day:
        raise ValueError(
            f"floors: the budgets sum to {budgets:,} places a day, the scene has {places_a_day:,}"
        )
    _check_names_once("floors", [f"new {floor.name}" for floor in floors])
    for i, floor in enumerate(floors):
        for j, cap in enumerate(caps):
            most = cap.share * places_a_day * floor.hours / HOURS_A_DAY
            # a creator's works may differ in every other column
            capped = floor.of_works or cap.column == CREATOR
            if capped and floor.exposures > most:
                raise ValueError(
                    f"floors[{i}] is above caps[{j}]: a new {'work' if floor.of_works else 'creator'} is to "
                    f"be shown "
                    f"{floor.exposures} times, and the cap lets {most:g} through in {floor.hours:g} hours"
                )


def check_columns(
    index: ItemIndex,
    targets: Sequence[Target],
    caps: Sequence[Cap],
    floors: Sequence[Floor],
    spread: Sequence[Spread],
) -> None:
    named = [(f"targets[{i}]", target.column or PUBLISHED) for i, target in enumerate(targets)]
    named += [(f"caps[{i}]", cap.column) for i, cap in enumerate(caps)]
    named += [(f"spread[{i}]", each.column) for i, each in enumerate(spread) if each.column is not None]
    for i, floor in enumerate(floors):
        named += [(f"floors[{i}]", column) for column in ([] if floor.of_works else [CREATOR]) + [PUBLISHED]]
    for place, column in named:
        if column not in index.columns:
            raise ValueError(
                f"{place}: the item index has no column {column!r}; it has {sorted(index.columns)}"
            )
        dtype = index.columns[column].dtype
        if dtype.kind not in "iub":
            raise ValueError(f"{place}: the column {column!r} has dtype {dtype}, expected integers")


def absent_values(index: ItemIndex, targets: Sequence[Target]) -> list[str]:
    """A line for each value that is to have a share and that no work of the index has."""
    lines = []
    for target in targets:
        if target.column is not None:
            there = np.unique(index.columns[target.column][index.present])
            wanted = [
                value for value, share in target.shares().items() if share > 0 and int(value) not in there
            ]
            lines += [f"{target.column} {value}: no work has it" for value in wanted]
    return lines


def _check_once(targets: Sequence[Target], caps: Sequence[Cap]) -> None:
    for kind, columns in (("targets", [t.column for t in targets]), ("caps", [cap.column for cap in caps])):
        for i, column in enumerate(columns):
            if column is not None and column in columns[:i]:
                first = columns.index(column)
                raise ValueError(
                    f"{kind}[{i}] and {kind}[{first}] both name the column {column!r}: make one of them"
                )
    for i, target in enumerate(targets):
        for j, cap in enumerate(caps):
            for value, share in target.shares().items():
                if target.column == cap.column and share > cap.share:
                    raise ValueError(
                        f"targets[{i}] is above caps[{j}]: {cap.column} {value} is to have {share:g} of the "
                        f"places, the cap is {cap.share:g}"
                    )


def _check_names_once(what: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(
                f"{what}[{i}] and {what}[{names.index(name)}] are both of {name}: make one of them"
            )


def _check_ages(targets: Sequence[Target]) -> None:
    """Works younger than 24 h are among those younger than 72 h, and so their share is at most as large."""
    ages = sorted(
        (t.age_hours, t.shares()[""], f"targets[{i}]") for i, t in enumerate(targets) if t.age_hours
    )
    for (age, share, name), (older, of_older, other) in pairwise(ages):
        if age == older:
            raise ValueError(f"{name} and {other} both name works younger than {age:g} h: make one of them")
        if share > of_older:
            raise ValueError(
                f"{name} wants {share:g} of the places for works younger than {age:g} h, and {other} "
                f"{of_older:g} for those younger than {older:g} h, which hold them"
            )


def _is_number(value: str) -> bool:
    """Whether ``value`` is a 64-bit integer in its one plain spelling: "01" would be "1" once more."""
    try:
        return str(int(value)) == value and -(2**63) <= int(value) < 2**63
    except ValueError:
        return False


def _check_share(what: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{what} is {share:g}, expected 0 … 1")
