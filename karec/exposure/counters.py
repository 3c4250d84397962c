"""Exposure counters of one scene: pages are added one by one and change the dual variables.

The same pages in the same order give the same state, bit for bit, however they are grouped. Shares and
budgets are counted in a decaying window: a page that is t hours old counts e^(−t/window), so a window of 24
hours holds as many impressions as a day has.
Cost: O(k · caps + G) per page of k items with G target groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.exposure.constraints import ExposureSettings
from karec.exposure.dual_variables import DualUpdate, TargetGroup
from karec.exposure.fairness import FairnessCounts
from karec.exposure.guarantees import GuaranteeCounts
from karec.times import HOUR_MS

FORMAT = 1
LAST_MS = 253_402_300_799_999  # the end of the year 9999
MAX_NAMED_VALUES = 5  # of a cap, in one line of ``unmet``


@dataclass(frozen=True, eq=False)
class PageImpressions:
    """The impressions of one page of n items.

    groups    (G,) float64 items in each target group
    caps      (n,) int64 values of each cap's column
    ids       (n,) int64
    creators  (n,) int64; empty if no guarantee is for creators
    fairness  (n,) int64 values, or item ids, for each fairness penalty
    """

    time_ms: int
    n: int
    groups: NDArray[Any]
    caps: tuple[NDArray[Any], ...]
    ids: NDArray[Any]
    creators: NDArray[Any]
    fairness: tuple[NDArray[Any], ...] = ()


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
        self.group_values = np.zeros(len(self.groups))
        self.n_pages = 0
        self.time_ms = 0
        self.guarantees = [GuaranteeCounts(guarantee) for guarantee in settings.guarantees]
        self.fairness = [FairnessCounts(penalty, settings.window_hours) for penalty in settings.fairness]
        self._absent_values = absent_values
        self._update = DualUpdate(settings.rate, settings.bound)
        self._window_hours = settings.window_hours
        self._shares = np.array([group.share for group in self.groups])
        self._group_counts = np.zeros(len(self.groups))  # decayed, as ``_impressions``
        self._impressions = 0.0
        self._total = 0  # impressions, ever
        # by value: (dual variable, total at that moment)
        self._cap_states: list[dict[int, tuple[float, int]]] = [{} for _ in self.caps]

    def add_page(self, page: PageImpressions) -> None:
        """Counts ``page`` and updates the dual variables. A page older than the newest one decays nothing."""
        decay = 1.0
        if self.time_ms:
            decay = math.exp(-max(page.time_ms - self.time_ms, 0) / (self._window_hours * HOUR_MS))
        self.time_ms = max(self.time_ms, page.time_ms)
        for guarantee in self.guarantees:
            keys = page.ids if guarantee.guarantee.is_for_items else page.creators
            guarantee.add_page(keys, page.time_ms, decay)
        if not page.n:
            return
        for fairness, values in zip(self.fairness, page.fairness, strict=True):
            fairness.add_page(values, self.time_ms)
        self.n_pages += 1
        self._group_counts = self._group_counts * decay + page.groups
        self._impressions = self._impressions * decay + page.n
        self.group_values = self._update.update_targets(self.group_values, self._shares, page.groups, page.n)
        self._add_to_caps(page)

    def _add_to_caps(self, page: PageImpressions) -> None:
        before = self._total
        self._total += page.n
        for cap, states, values in zip(self.caps, self._cap_states, page.caps, strict=True):
            shown, counts = np.unique(values[values >= 0], return_counts=True)
            for value, count in zip(shown.tolist(), counts.tolist(), strict=True):
                dual, at = states.get(value, (0.0, before))
                dual = self._update.update_cap(dual, cap.share, 0, before - at)
                states[value] = self._update.update_cap(dual, cap.share, count, page.n), self._total

    def cap_values(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (values, dual variables > 0) of a cap; values whose dual variable is 0 are removed."""
        share, states, current = self.caps[number].share, self._cap_states[number], {}
        for value, (dual, at) in states.items():
            now = self._update.update_cap(dual, share, 0, self._total - at)
            if now > 0:
                current[value] = now
        self._cap_states[number] = {value: states[value] for value in current}
        n = len(current)
        return np.fromiter(current, np.int64, n), np.fromiter(current.values(), np.float64, n)

    def shares(self) -> NDArray[Any]:
        """Returns (G,) each group's share of the window's impressions; 0 before the first page."""
        if not self._impressions:
            return np.zeros(len(self.groups))
        return np.asarray(self._group_counts / self._impressions)

    def unmet(self) -> list[str]:
        """Returns a line for each target outside its tolerance and each cap whose dual variables are at the
        bound.
        """
        lines = [*self._absent_values]
        bound = self._update.bound
        duals, shares = self.group_values.tolist(), self.shares().tolist()
        for group, dual, share in zip(self.groups, duals, shares, strict=True):
            if abs(dual) >= bound and abs(share - group.share) > group.tolerance:
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
                {"name": group.name, "wanted": group.share, "share": share, "price": dual}
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

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON; ``restore`` reads them. The keys are the state file's."""
        duals, counts = self.group_values.tolist(), self._group_counts.tolist()
        return {
            "format": FORMAT,
            "feeds": self.n_pages,
            "time_ms": self.time_ms,
            "total": self._total,
            "places": self._impressions,
            "groups": {
                # format 1 has the dual variable twice and the share, for a controller that was removed
                group.name: [dual, dual, group.share, count]
                for group, dual, count in zip(self.groups, duals, counts, strict=True)
            },
            "caps": {
                cap.column: {str(value): [*state] for value, state in states.items()}
                for cap, states in zip(self.caps, self._cap_states, strict=True)
            },
            "floors": {counts.guarantee.name: counts.to_dict() for counts in self.guarantees},
            "spread": {counts.penalty.name: counts.to_dict() for counts in self.fairness},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continues from the values of ``to_dict``, of these counters or of other constraints.

        Constraints of the same name continue, with dual variables clipped to the bound; others begin at 0.

        Raises:
            ValueError: ``saved`` is something else; then nothing changes.
        """
        bound = self._update.bound
        try:
            if saved["format"] != FORMAT:
                raise ValueError(f"format {saved['format']}, this version reads {FORMAT}")
            n_pages, time_ms, total = (int(saved[name]) for name in ("feeds", "time_ms", "total"))
            if not 0 <= time_ms <= LAST_MS:
                raise ValueError(f"time_ms is {time_ms}")
            impressions = _finite(saved["places"])
            group_values, group_counts = self.group_values.copy(), self._group_counts.copy()
            for i, group in enumerate(self.groups):
                if group.name in saved["groups"]:
                    _, dual, _, group_counts[i] = map(_finite, saved["groups"][group.name])
                    group_values[i] = np.clip(dual, -bound, bound)
            cap_states = [
                {
                    int(value): (min(max(_finite(dual), 0.0), bound), int(at))
                    for value, (dual, at) in saved["caps"].get(cap.column, {}).items()
                }
                for cap in self.caps
            ]
            guarantees = [
                GuaranteeCounts.from_dict(counts.guarantee, saved["floors"].get(counts.guarantee.name))
                for counts in self.guarantees
            ]
            saved_fairness = saved.get("spread", {})  # missing in files of older versions
            fairness = [
                FairnessCounts.from_dict(
                    counts.penalty, self._window_hours, saved_fairness.get(counts.penalty.name), time_ms
                )
                for counts in self.fairness
            ]
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"not the exposure state of a scene: {error!r}") from error
        self.n_pages = n_pages
        self.time_ms = time_ms
        self.group_values = group_values
        self.guarantees[:] = guarantees
        self.fairness = fairness
        self._total = total
        self._impressions = impressions
        self._group_counts = group_counts
        self._cap_states = cap_states


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a finite number")
    return number
