"""The prices of one moment, and what they do to the candidates of a request. Nothing here is ever written
again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import PUBLISHED
from karec.exposure.boosts import Behind
from karec.exposure.by_id import Keyed
from karec.exposure.constraints import Target
from karec.pipeline.types import Candidates, Request
from karec.times import HOUR_MS


@dataclass(frozen=True)
class Group:
    """Works that one target speaks of: ``column`` equals ``value``, or younger than ``age_hours`` at the
    request."""

    name: str
    share: float
    tolerance: float
    column: str
    value: int = 0
    age_hours: float | None = None

    def members(self, values: NDArray[Any], now_ms: int) -> NDArray[Any]:
        """(N,) bool, by ``values (N,)`` of the column."""
        if self.age_hours is None:
            return np.asarray(values == self.value)
        return np.asarray(values > now_ms - self.age_hours * HOUR_MS)


@dataclass(frozen=True, eq=False)
class Prices:
    """What works cost, in standard deviations of a request's scores; negative lifts.

    groups   (G,) λ of each target's group
    columns  (column, λ by its values): caps, creators behind a floor, spread; those of one column are added
    works    λ by id: works behind a floor, spread; they are added
    behind   what exploration draws from
    notes    for the trace
    """

    version: int
    of_groups: tuple[Group, ...]
    groups: NDArray[Any]
    columns: tuple[tuple[str, Keyed], ...]
    works: tuple[Keyed, ...]
    behind: Behind
    notes: Mapping[str, object]

    def of(self, request: Request, candidates: Candidates) -> NDArray[Any] | None:
        """(N,) float64: each candidate's price; None where no price stands. O(N · priced groups)."""
        priced = [
            (group, price) for group, price in zip(self.of_groups, self.groups.tolist(), strict=True) if price
        ]
        if not priced and not self.columns and not self.works:
            return None
        now = 0 if request.time_ms is None else request.time_ms
        total = np.zeros(len(candidates))
        read: dict[str, NDArray[Any]] = {}

        def values(column: str) -> NDArray[Any]:
            if column not in read:
                read[column] = request.column(column, candidates)
            return read[column]

        for group, price in priced:
            total += price * group.members(values(group.column), now)
        for column, by_value in self.columns:
            by_value.add_to(total, values(column))
        for by_id in self.works:
            by_id.add_to(total, candidates.ids)
        return total


def steered(scores: NDArray[Any], prices: NDArray[Any]) -> NDArray[Any]:
    """(N,) float32 score − price · deviation of the scores, in float64; a work without a price keeps its
    bits.

    Where all scores are the same, the deviation counts as 1: prices alone give the order.
    """
    wide = scores.astype(np.float64)
    deviation = float(wide.std()) if len(wide) else 0.0
    return np.asarray(wide - prices * (deviation or 1.0), np.float32)


def groups_of(targets: Sequence[Target]) -> tuple[Group, ...]:
    """One group for each share that ``targets`` name."""
    groups = []
    for target in targets:
        column, hours, tolerance = target.column, target.age_hours, target.tolerance
        for value, share in target.shares().items():
            if column is None:
                groups.append(
                    Group(f"younger than {hours:g} h", share, tolerance, PUBLISHED, age_hours=hours)
                )
            else:
                groups.append(Group(f"{column} {value}", share, tolerance, column, int(value)))
    return tuple(groups)
