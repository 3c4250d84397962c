"""Charts of a simulation's report, drawn from ``report.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from karec.lab.report import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = {
    "creators_1": "creators reached",
    "works_1": "works reached",
    "younger_72h": "share younger than 72 h",
}
REACH = "creators_1_a_day"
GAINS = {"play_s": "expected play time", "likes": "expected likes"}
HISTOGRAMS = {
    "items_of_creator": ("items of one creator on a page", "fraction of creators on pages"),
    "repeats_in_week": ("impressions of a creator for a user in a week", "fraction of users' creators"),
}


def draw_days(panels: Sequence[Axes], report: Mapping[str, Any]) -> None:
    """Draws creators, works and timeliness by day, one line per arm."""
    names = sorted(report["arms"], key=lambda name: _colour(report, name) != GREY)  # the pair is drawn last
    for panel, (measure, title) in zip(panels, CURVES.items(), strict=True):
        for name in names:
            values = report["arms"][name]["by_day"][measure]
            is_marked = _colour(report, name) != GREY
            panel.plot(
                range(1, len(values) + 1),
                [math.nan if value is None else value for value in values],
                "-o",
                color=_colour(report, name),
                linewidth=2.2 if is_marked else 1.0,
                markersize=4 if is_marked else 2,
                label=name if is_marked else None,
            )
        panel.set_ylim(bottom=0)
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlabel("day")
        panel.locator_params(axis="x", integer=True)
    panels[-1].legend(frameon=False, fontsize=9)


def draw_frontier(panels: Sequence[Axes], report: Mapping[str, Any]) -> None:
    """Draws changes of each of GAINS and of creators, in percent of the baseline, with intervals."""
    for axes, (gain, label) in zip(panels, GAINS.items(), strict=True):
        points = {name: point for name in report["arms"] if (point := _point(report, name, gain)) is not None}
        for name, (x, y) in points.items():
            measures, colour = report["arms"][name]["measures"], _colour(report, name)
            if (interval := measures[REACH]["relative_ci"]) is not None:
                axes.plot(interval, (y, y), color=colour, linewidth=0.8)
            if (interval := measures[gain]["relative_ci"]) is not None:
                axes.plot((x, x), interval, color=colour, linewidth=0.8)
            fill_colour = colour if is_on_frontier(name, points) else "white"
            axes.plot([x], [y], "o", color=colour, markerfacecolor=fill_colour, markersize=6)
            axes.annotate(name, (x, y), xytext=(6, 5), textcoords="offset points", color=INK, fontsize=9)
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.set_xlabel(f"creators shown per day, change in % of {report['baseline']}")
        axes.set_ylabel(f"{label}, change in %")


def is_on_frontier(name: str, points: Mapping[str, tuple[float, float]]) -> bool:
    """Returns True if no other point is at least as large in both values and larger in one."""
    x, y = points[name]
    return not any(other != (x, y) and other[0] >= x and other[1] >= y for other in points.values())


def draw_histograms(panels: Sequence[Axes], report: Mapping[str, Any]) -> None:
    """Draws the histograms of pages, one line per arm."""
    for axes, (key, (x, y)) in zip(panels, HISTOGRAMS.items(), strict=True):
        for name, arm in report["arms"].items():
            counts = arm["facts"]["pages"][key]
            fractions = [count / max(sum(counts), 1) or math.nan for count in counts]
            axes.plot(range(1, len(counts) + 1), fractions, "o-", color=_colour(report, name), label=name)
        axes.set_yscale("log")
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel(x)
        axes.set_ylabel(y)


def _point(report: Mapping[str, Any], name: str, gain: str) -> tuple[float, float] | None:
    """Returns (change of creators, change of ``gain``) in percent; None if one is unknown."""
    if name == report["baseline"]:
        return 0.0, 0.0
    x, y = (report["arms"][name]["measures"][measure]["relative"] for measure in (REACH, gain))
    return None if x is None or y is None else (x, y)


def _colour(report: Mapping[str, Any], name: str) -> str:
    """Returns the colour of the pair; without a pair the baseline has a colour."""
    pair = report["pair"] or {"without": report["baseline"], "with": None}
    return {pair["without"]: BLUE, pair["with"]: ORANGE}.get(name, GREY)
