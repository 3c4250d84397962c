"""Computes the effect of each exposure constraint of a scene on given items, from its newest counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.exposure.arrays import SparseValues, find_keys
from karec.exposure.constraints import ExposureSettings
from karec.exposure.counters import ExposureCounters
from karec.exposure.guarantees import GuaranteeCounts


@dataclass(frozen=True)
class ConstraintEffect:
    """One constraint and its effect on the scores of some items.

    constraint  "target type 1", "cap creator_id", "guarantee works of 24 h", "fairness of items", …
    n_items     items whose scores it changes
    lowest      smallest dual variable of these items, in standard deviations of a request's scores. A
                positive dual variable lowers a score. 0 without items
    highest     largest dual variable of these items
    state       share or impressions so far, and the bound, as text
    """

    constraint: str
    n_items: int
    lowest: float
    highest: float
    state: str


def constraint_effects(
    counters: ExposureCounters,
    settings: ExposureSettings,
    ids: NDArray[Any],
    columns: Mapping[str, NDArray[Any]],
) -> list[ConstraintEffect]:
    """Returns the effect of each constraint on the items ``ids`` (N,), in the order of the table `exposure`.

    ``columns``: {column: (N,)} of all columns that the constraints read. Cost: O(N) for each constraint.
    """
    now_ms = counters.time_ms
    effects = []
    for group, dual, share in zip(
        counters.groups, counters.group_values.tolist(), counters.shares().tolist(), strict=True
    ):
        values = dual * group.members(columns[group.column], now_ms)
        effects.append(_effect(f"target {group.name}", values, f"share {share:.4f} of {group.share:g}"))
    for number, cap in enumerate(counters.caps):
        values = _of_items([SparseValues(*_sorted(*counters.cap_values(number)))], columns[cap.column])
        effects.append(_effect(f"cap {cap.column}", values, f"share at most {cap.share:g}"))
    for counts in counters.guarantees:
        keys = ids if counts.guarantee.is_for_items else columns[CREATOR]
        boosts = counts.boosts(keys, now_ms, settings.bound)
        effects.append(_effect(f"guarantee {counts.guarantee.name}", boosts, _guarantee_state(counts, keys)))
    for penalty in counters.fairness:
        column = penalty.penalty.column
        values = _of_items(penalty.penalties(now_ms), ids if column is None else columns[column])
        name = "fairness of items" if column is None else f"fairness {column}"
        effects.append(_effect(name, values, f"penalty at most {penalty.penalty.weight:g}"))
    return effects


def _effect(name: str, values: NDArray[Any], state: str) -> ConstraintEffect:
    active = values[values != 0]
    lowest, highest = (float(active.min()), float(active.max())) if len(active) else (0.0, 0.0)
    return ConstraintEffect(name, len(active), lowest, highest, state)


def _of_items(parts: Sequence[SparseValues], keys: NDArray[Any]) -> NDArray[Any]:
    total = np.zeros(len(keys))
    for part in parts:
        part.add_to(total, keys)
    return total


def _sorted(keys: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    order = np.argsort(keys)
    return keys[order], values[order]


def _guarantee_state(counts: GuaranteeCounts, keys: NDArray[Any]) -> str:
    units = np.unique(keys)
    at, is_unit = find_keys(counts.keys, units)
    shown, needed = counts.counts[at[is_unit]], counts.guarantee.exposures
    kind = "items" if counts.guarantee.is_for_items else "creators"
    budget = "" if counts.has_budget else "; the budget of the day is spent"
    return f"{len(shown)} new {kind}, {int((shown < needed).sum())} below {needed} impressions{budget}"
