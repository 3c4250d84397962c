"""Effects of the page policy on users, creators and items, against the ranker's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from karec.lab.simulate.report_tables import format_change

RANKER_ORDER, PAGE_POLICY = "ranker order", "page policy"  # arms of sets/demo.toml
NO_BREAK = "\N{NO-BREAK SPACE}"
THREE_DAYS = {  # {measure: (label, unit, decimals)}
    "play_s": ("play time per user and day", " s", 0),
    "long_views": ("long views per user and day", "", 2),
    "likes": ("likes per user and day", "", 2),
    "creators_1_a_day": ("creators shown per day", "", 0),
    "gini_creators": ("Gini of creators' impressions", "", 3),
    "works_1_a_day": ("items shown per day", "", 0),
    "younger_72h": ("impressions: fraction below 72 h of age", "", 3),
}


@dataclass(frozen=True)
class Effect:
    """A measure under the ranker's order (``before``) and with the page policy (``after``).

    ``change`` and its 95 % interval are in percent if ``is_percent``, else a difference. None: unknown.
    """

    label: str
    before: float | None
    after: float | None
    change: float | None
    interval: tuple[float, float] | None
    is_percent: bool
    unit: str
    digits: int

    def format_value(self, value: float | None) -> str:
        return "–" if value is None else f"{value:,.{self.digits}f}{self.unit}"

    def format_change(self, *, has_interval: bool = True) -> str:
        interval = self.interval if has_interval else None
        digits, unit = (1, " %") if self.is_percent else (self.digits, "")
        return format_change(self.change, interval, digits, unit).replace(" ", NO_BREAK)


def policy_effects(report: Mapping[str, Any]) -> dict[str, Effect]:
    """Returns {measure: effect} in the simulated days; {} without a world."""
    if report["three_days"] is None:
        return {}
    arms = report["three_days"]["arms"]
    effects = {}
    for name, (label, unit, digits) in THREE_DAYS.items():
        before, after = (arms[arm]["measures"][name] for arm in (RANKER_ORDER, PAGE_POLICY))
        is_percent = not name.startswith("gini")
        kind = "relative" if is_percent else "change"
        values = before["value"], after["value"], after[kind], after[f"{kind}_ci"]
        effects[name] = Effect(label, *values, is_percent=is_percent, unit=unit, digits=digits)
    return effects
