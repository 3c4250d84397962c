"""Hard rules of a page in karec.toml: rules on neighbours, reserved positions, boosts with limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """At most ``max_count`` items (default 1) with one value of ``column`` among any ``window`` neighbours.

    The items of ``request.shown`` count as if they stood before the page. ``window = "session"``: the limit
    is for the whole session. ``values``: only for these values. ``apart``: pairs of values that may not stand
    among ``window`` neighbours together, instead of ``max_count``.
    """

    column: str
    window: int | Literal["session"] = 2
    max_count: int | None = None
    values: tuple[int, ...] = ()
    apart: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.apart and (self.max_count is not None or self.values):
            raise ValueError(f"{self}: apart goes without max_count and values")
        if isinstance(self.window, int) and self.window < 2:
            raise ValueError(f'{self}: window = {self.window}, expected at least 2, or "session"')
        if self.count < 1 or (isinstance(self.window, int) and self.count >= self.window):
            raise ValueError(f"{self}: a rule needs 1 ≤ max_count < window")

    @property
    def count(self) -> int:
        """``max_count``, or its default 1."""
        return 1 if self.max_count is None else self.max_count

    def __str__(self) -> str:
        window = "in a session" if self.window == "session" else f"in {self.window}"
        if self.apart:
            return f"{self.column} {', '.join(f'{a} and {b}' for a, b in self.apart)} apart {window}"
        values = f" = {' or '.join(map(str, self.values))}" if self.values else ""
        return f"at most {self.count} of one {self.column}{values} {window}"


@dataclass(frozen=True)
class Position:
    """Positions of the page, counted from 1, and what they are reserved for.

    ``work``: one item, by its id, a string if the platform's ids are strings. ``column`` and ``values``: the
    best items with one of these values. Neither: the position stays free, and the trace says so. ``only``:
    items with these values stand in these positions and in no others.
    """

    at: int | tuple[int, ...]
    work: int | str | None = None
    column: str | None = None
    values: tuple[int, ...] = ()
    only: bool = False

    def __post_init__(self) -> None:
        if not self.places or min(self.places) < 1 or len(set(self.places)) < len(self.places):
            raise ValueError(f"at = {self.at!r}, expected places counted from 1, without repeats")
        if self.work is not None and (self.column is not None or len(self.places) > 1):
            raise ValueError(f"{self}: a work has one position and no column")
        if (self.column is None) != (not self.values):
            raise ValueError(f"{self}: column and values go together")
        if self.only and self.column is None:
            raise ValueError(f"{self}: only goes with column and values")

    @property
    def places(self) -> tuple[int, ...]:
        return (self.at,) if isinstance(self.at, int) else self.at

    @property
    def is_free(self) -> bool:
        return self.work is None and self.column is None

    def __str__(self) -> str:
        places = f"place {', '.join(map(str, self.places))}"
        if self.work is not None:
            return f"{places}: work {self.work}"
        if self.is_free:
            return f"{places}: free"
        return f"{places}: {self.column} = {' or '.join(map(str, self.values))}"


@dataclass(frozen=True)
class Boost:
    """Items whose ``column`` has one of ``values`` move up by at most ``places`` positions."""

    column: str
    values: tuple[int, ...]
    places: int

    def __post_init__(self) -> None:
        if self.places < 1 or not self.values:
            raise ValueError(f"a boost of {self.column} needs values and places ≥ 1")


@dataclass(frozen=True)
class Boosts:
    """``works``: the boosts; those of one item add up to at most ``most_places``. ``at_most``: the number of
    items of a page that are moved; those that would stand first are.
    """

    works: tuple[Boost, ...]
    at_most: int
    most_places: int

    def __post_init__(self) -> None:
        if not self.works:
            raise ValueError("boosts have no works: add works, or remove boosts")
        if self.at_most < 1 or self.most_places < 1:
            raise ValueError(
                f"at_most = {self.at_most} and most_places = {self.most_places}, expected at least 1"
            )
        for boost in self.works:
            if boost.places > self.most_places:
                raise ValueError(
                    f"the boost of {boost.column} is {boost.places} places, above most_places = "
                    f"{self.most_places}"
                )


def check_together(rules: Sequence[Rule], places: Sequence[Position]) -> None:
    """Raises ValueError with the names of both for rules and positions that contradict each other."""
    owners: dict[int, Position] = {}
    works: dict[int | str, Position] = {}
    for place in places:
        for position in place.places:
            if position in owners:
                raise ValueError(
                    f"{owners[position]!s} and {place!s} contradict each other: both reserve place {position}"
                )
            owners[position] = place
        if place.work is not None:
            if place.work in works:
                raise ValueError(
                    f"{works[place.work]!s} and {place!s} contradict each other: one work has two places"
                )
            works[place.work] = place
    _check_only(places)
    for rule in rules:
        _check_rule(rule, owners)


def _check_only(places: Sequence[Position]) -> None:
    for place in places:
        for other_place in places if place.only else ():
            shared_values = (
                set(place.values) & set(other_place.values) if place.column == other_place.column else set()
            )
            if shared_values and not other_place.only:
                raise ValueError(
                    f"{place!s} and {other_place!s} contradict each other: works of "
                    f"{place.column} = {min(shared_values)} stand only in places with only"
                )


def _check_rule(rule: Rule, owners: dict[int, Position]) -> None:
    """Raises ValueError if positions reserved for one value of the rule's column break the rule by
    themselves."""
    value_at = {
        position: place.values[0]
        for position, place in owners.items()
        if place.column == rule.column and len(place.values) == 1
    }
    for position in sorted(value_at):
        near = [
            earlier
            for earlier in value_at
            if earlier < position and (rule.window == "session" or position - earlier < rule.window)
        ]
        if rule.apart:
            against = [
                earlier
                for earlier in near
                if {(value_at[earlier], value_at[position]), (value_at[position], value_at[earlier])}
                & {*rule.apart}
            ]
            broken = bool(against)
        else:
            against = [earlier for earlier in near if value_at[earlier] == value_at[position]]
            broken = (not rule.values or value_at[position] in rule.values) and len(against) >= rule.count
        if broken:
            first, second = owners[against[0]], owners[position]
            names = str(first) if first is second else f"{first!s}, {second!s}"
            raise ValueError(f"{names} and the rule {rule!s} contradict each other")
