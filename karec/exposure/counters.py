"""Exposure counters of one scene: pages are added one by one and change the dual variables.

The same pages and new units in the same order give the same state, bit for bit, however they are grouped.
Shares and budgets are counted in a decaying window: a page that is t hours old counts e^(−t/window), so a
window of 24 hours holds as many impressions as a day has.
Cost: O(k · caps + G) per page of k items with G target groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.exposure.arrays import NO_IDS, Int64s
from karec.exposure.constraints import ExposureSettings
from karec.exposure.dual_variables import DualUpdate, TargetAscent, TargetGroup
from karec.exposure.fairness import FairnessCounts
from karec.exposure.guarantees import GuaranteeCounts, NewUnits
from karec.times import HOUR_MS

FORMAT = 1
LAST_MS = 253_402_300_799_999  # the end of the year 9999
MAX_NAMED_VALUES = 5  # of a cap, in one line of ``unmet``


class PageImpressions(msgspec.Struct, frozen=True, eq=False, tag="page"):
    """The impressions of one page of n items.

    targets  {target group: its items on the page}
    ids      (n,) int64
    columns  {column of a cap, fairness penalty or guarantee: values (n,) int64}
    """

    time_ms: int
    n: int
    targets: Mapping[str, int]
    ids: Int64s
    columns: Mapping[str, Int64s]


Entry = PageImpressions | NewUnits


class CountersState(msgspec.Struct):
    """State of ``ExposureCounters``. Constraints have names, so that others can continue from it.

    impressions, targets  decayed impressions; {target group: (λ, or z of a minimum; decayed impressions)}
    means                 {target group: m of a minimum}
    total                 impressions, ever
    caps                  {column: {value: (dual variable, total at that moment)}}
    """

    format: int
    n_pages: int
    time_ms: Annotated[int, msgspec.Meta(ge=0, le=LAST_MS)]
    total: int
    impressions: float
    targets: dict[str, tuple[float, float]]
    caps: dict[str, dict[int, tuple[float, int]]]
    guarantees: dict[str, GuaranteeCounts]
    fairness: dict[str, FairnessCounts]
    means: dict[str, float] = {}


class ExposureCounters:
    """Counts and dual variables of all constraints of a scene. One thread uses it.

    Args:
        absent_values: lines of ``unmet`` for values that no item has.

    groups        (G) the target groups
    group_values  (G,) float64 dual variables
    n_pages       pages counted, ever
    time_ms       time of the newest page
    guarantees    counts of each guarantee; the list stays the same object
    fairness      counts of each fairness penalty
    """

    def __init__(self, settings: ExposureSettings, absent_values: Sequence[str] = ()) -> None:
        self.groups = TargetGroup.from_targets(settings.targets)
        self.caps = settings.caps
        self.n_pages = 0
        self.time_ms = 0
        self._settings = settings
        self.guarantees = self._new_guarantees()
        self.fairness = self._new_fairness()
        self._absent_values = absent_values
        self._update = DualUpdate(settings.rate, settings.bound)
        self._ascent = TargetAscent(self.groups, self._update)
        self._shares = {group.name: group.share for group in self.groups}
        self._group_counts = np.zeros(len(self.groups))  # decayed, as ``_impressions``
        self._impressions = 0.0
        self._total = 0  # impressions, ever
        # by value: (dual variable, total at that moment)
        self._cap_states: list[dict[int, tuple[float, int]]] = [{} for _ in self.caps]

    @property
    def group_values(self) -> NDArray[Any]:
        return self._ascent.dual_variables()

    def add(self, entry: Entry) -> None:
        """Adds a page, or new units to the guarantees; these lose the units that are no longer new."""
        if isinstance(entry, PageImpressions):
            self.add_page(entry)
            return
        now_ms = max(entry.time_ms, self.time_ms)
        for counts in self.guarantees:
            if (units := entry.units.get(counts.guarantee.name)) is not None:
                counts.set_new_units(*units, now_ms)

    def add_page(self, page: PageImpressions) -> None:
        """Counts ``page`` and updates the dual variables. A page older than the newest one decays nothing."""
        decay = 1.0
        if self.time_ms:
            decay = math.exp(-max(page.time_ms - self.time_ms, 0) / (self._settings.window_hours * HOUR_MS))
        self.time_ms = max(self.time_ms, page.time_ms)
        for guarantee in self.guarantees:
            keys = page.ids if guarantee.guarantee.is_for_items else page.columns.get(CREATOR, NO_IDS)
            guarantee.add_page(keys, page.time_ms, decay)
        if not page.n:
            return
        for fairness in self.fairness:
            column = fairness.penalty.column
            fairness.add_page(page.ids if column is None else page.columns.get(column, NO_IDS), self.time_ms)
        self.n_pages += 1
        # a page of a process without the target counts as if it had exactly its share
        counts = np.array([page.targets.get(name, share * page.n) for name, share in self._shares.items()])
        self._group_counts = self._group_counts * decay + counts
        self._impressions = self._impressions * decay + page.n
        self._ascent.add_page(counts, page.n)
        self._add_to_caps(page)

    def _add_to_caps(self, page: PageImpressions) -> None:
        before = self._total
        self._total += page.n
        for cap, states in zip(self.caps, self._cap_states, strict=True):
            values = page.columns.get(cap.column, NO_IDS)
            shown, counts = np.unique(values[values >= 0], return_counts=True)
            for value, count in zip(shown.tolist(), counts.tolist(), strict=True):
                dual, old_total = states.get(value, (0.0, before))
                dual = self._update.update_cap(dual, cap.share, 0, before - old_total)
                states[value] = self._update.update_cap(dual, cap.share, count, page.n), self._total

    def copy_from(self, other: ExposureCounters) -> None:
        """Takes the state of ``other``, which has the same settings. Arrays are replaced, never changed."""
        self.n_pages = other.n_pages
        self.time_ms = other.time_ms
        self._ascent.restore(other._ascent.values, other._ascent.means)
        self.guarantees[:] = [counts.copy() for counts in other.guarantees]
        self.fairness = [counts.copy() for counts in other.fairness]
        self._group_counts = other._group_counts
        self._impressions = other._impressions
        self._total = other._total
        self._cap_states = [dict(states) for states in other._cap_states]

    def cap_values(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (values, dual variables > 0) of a cap; values whose dual variable is 0 are removed."""
        share, states, current = self.caps[number].share, self._cap_states[number], {}
        for value, (old_dual, old_total) in states.items():
            dual = self._update.update_cap(old_dual, share, 0, self._total - old_total)
            if dual > 0:
                current[value] = dual
        self._cap_states[number] = {value: states[value] for value in current}
        n = len(current)
        return np.fromiter(current, np.int64, n), np.fromiter(current.values(), np.float64, n)

    def shares(self) -> NDArray[Any]:
        """Returns (G,) each group's share of the window's impressions; 0 before the first page."""
        return np.asarray(self._group_counts / (self._impressions or 1.0))

    def unmet(self) -> list[str]:
        """Returns a line for each missed target and each cap whose dual variables are at the bound."""
        lines = [*self._absent_values]
        bound = self._update.bound
        duals, shares = self.group_values.tolist(), self.shares().tolist()
        for group, dual, share in zip(self.groups, duals, shares, strict=True):
            is_missed = share < group.share or not group.is_minimum
            if abs(dual) >= bound and is_missed and abs(share - group.share) > group.tolerance:
                lines.append(
                    f"{group.name}: share {share:.3f}, target {group.share:g}, dual variable {dual:+g}"
                )
        for number, cap in enumerate(self.caps):
            values, cap_duals = self.cap_values(number)
            at_bound = values[cap_duals >= bound]
            if len(at_bound):
                named = ", ".join(map(str, sorted(at_bound.tolist())[:MAX_NAMED_VALUES]))
                lines.append(
                    f"{cap.column} {named}: above the cap of {cap.share:g}, dual variable {bound:+g}"
                )
        return lines

    def notes(self) -> dict[str, object]:
        """Returns the dual variables, spent budgets and unmet constraints, for the trace."""
        notes: dict[str, object] = {"pages": self.n_pages}
        if self.groups:
            named = zip(self.groups, self.group_values.tolist(), strict=True)
            notes["dual_variables"] = {group.name: round(dual, 4) for group, dual in named}
        for number, cap in enumerate(self.caps):
            notes[f"capped {cap.column}"] = len(self.cap_values(number)[0])
        if spent := [counts.guarantee.name for counts in self.guarantees if not counts.has_budget]:
            notes["budget_spent"] = spent
        if unmet := self.unmet():
            notes["unmet"] = unmet
        return notes

    def summary(self) -> dict[str, Any]:
        """Returns plain values for reports: the state of each constraint."""
        duals, shares = self.group_values.tolist(), self.shares().tolist()
        cap_duals = [self.cap_values(number)[1] for number in range(len(self.caps))]
        return {
            "pages": self.n_pages,
            "targets": [
                {"name": group.name, "target_share": group.share, "share": share, "dual_variable": dual}
                for group, share, dual in zip(self.groups, shares, duals, strict=True)
            ],
            "caps": [
                {
                    "column": cap.column,
                    "share": cap.share,
                    "active": len(values),
                    "largest": float(values.max(initial=0.0)),
                }
                for cap, values in zip(self.caps, cap_duals, strict=True)
            ],
            "guarantees": [counts.summary(self.time_ms) for counts in self.guarantees],
            "fairness": [counts.summary(self.time_ms) for counts in self.fairness],
            "unmet": self.unmet(),
        }

    def state(self) -> CountersState:
        """Returns the state, with objects of these counters: encode it before they change."""
        duals, counts = self._ascent.values.tolist(), self._group_counts.tolist()
        caps = {}
        for number, cap in enumerate(self.caps):
            self.cap_values(number)  # removes dual variables of 0
            caps[cap.column] = dict(sorted(self._cap_states[number].items()))
        return CountersState(
            FORMAT,
            self.n_pages,
            self.time_ms,
            self._total,
            self._impressions,
            targets=dict(zip(self._shares, zip(duals, counts, strict=True), strict=True)),
            caps=caps,
            guarantees={counts.guarantee.name: replace(counts, searched_ms=0) for counts in self.guarantees},
            fairness={counts.penalty.name: counts for counts in self.fairness},
            means=dict(zip(self._shares, self._ascent.means.tolist(), strict=True)),
        )

    def restore(self, saved: CountersState) -> None:
        """Continues from ``saved``, of these counters or of other constraints.

        Constraints of the same name continue, with dual variables clipped to the bound; others begin at 0.

        Raises:
            ValueError: ``saved`` is of another format or contradicts itself; then nothing changes.
        """
        bound = self._update.bound
        if saved.format != FORMAT:
            raise ValueError(f"exposure state of format {saved.format}, expected format {FORMAT}")
        if any(counts.merged_ms > saved.time_ms for counts in saved.fairness.values()):
            raise ValueError("counts of a fairness penalty are newer than the newest page")
        states = np.array([saved.targets.get(group.name, (0.0, 0.0)) for group in self.groups]).reshape(-1, 2)
        self.n_pages = saved.n_pages
        self.time_ms = saved.time_ms
        self._total = saved.total
        self._impressions = saved.impressions
        means = np.array([saved.means.get(group.name, 0.0) for group in self.groups])
        self._ascent.restore(states[:, 0], means)
        self._group_counts = states[:, 1]
        self._cap_states = [
            {value: (min(max(dual, 0.0), bound), total) for value, (dual, total) in states.items()}
            for states in (saved.caps.get(cap.column, {}) for cap in self.caps)
        ]
        self.guarantees[:] = [
            replace(saved.guarantees.get(counts.guarantee.name, counts), guarantee=counts.guarantee)
            for counts in self._new_guarantees()
        ]
        self.fairness = [
            replace(
                saved.fairness.get(counts.penalty.name, counts),
                penalty=counts.penalty,
                window_hours=counts.window_hours,
            )
            for counts in self._new_fairness()
        ]

    def _new_guarantees(self) -> list[GuaranteeCounts]:
        return [GuaranteeCounts(guarantee) for guarantee in self._settings.guarantees]

    def _new_fairness(self) -> list[FairnessCounts]:
        return [FairnessCounts(one, self._settings.window_hours) for one in self._settings.fairness]
