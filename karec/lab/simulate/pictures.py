"""Charts of a simulation's report, drawn from ``report.json``."""

from __future__ import annotations

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
GAIN, REACH = "play_s", "creators_1_a_day"


def draw_days(axes: Axes, report: Mapping[str, Any]) -> None:
    """Draws creators, works and timeliness by day, one line per arm."""
    _lines(axes, report, CURVES)


def draw_frontier(axes: Axes, report: Mapping[str, Any]) -> None:
    """Draws the change of play against the change of creators in percent of the baseline, with both
    intervals.
    """
    points = {name: _point(report, name) for name in report["arms"]}
    known_points = {name: point for name, point in points.items() if point is not None}
    for family in report["prices"]:
        names = [family["steps"][0]["from"], *(step["to"] for step in family["steps"])]
        known = [known_points[name] for name in names if name in known_points]
        axes.plot([x for x, _ in known], [y for _, y in known], linewidth=1.2, label=family["family"])
    for name, (x, y) in known_points.items():
        measures, colour = report["arms"][name]["measures"], _colour(report, name)
        for measure, axis in ((REACH, "x"), (GAIN, "y")):
            ci = measures[measure]["relative_ci"]
            if ci is not None:
                ends = ([*ci], [y, y]) if axis == "x" else ([x, x], [*ci])
                axes.plot(*ends, color=colour, linewidth=0.8)
        fill_colour = colour if report["arms"][name]["on_frontier"] else "white"
        axes.plot([x], [y], "o", color=colour, markerfacecolor=fill_colour, markersize=6)
        axes.annotate(name, (x, y), xytext=(6, 5), textcoords="offset points", color=INK, fontsize=9)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_xlabel(f"creators reached a day, % more than {report['baseline']}")
    axes.set_ylabel("true play, % more")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)


def _point(report: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Returns (change of creators, change of play) in percent; None if one is unknown."""
    if name == report["baseline"]:
        return 0.0, 0.0
    x, y = (report["arms"][name]["measures"][measure]["relative"] for measure in (REACH, GAIN))
    return None if x is None or y is None else (x, y)


def _lines(axes: Axes, report: Mapping[str, Any], curves: Mapping[str, str]) -> None:
    names = sorted(report["arms"], key=lambda name: _colour(report, name) != GREY)  # the pair is drawn last
    for panel, (measure, title) in zip(_panels(axes, len(curves)), curves.items(), strict=True):
        for name in names:
            days = report["arms"][name]["by_day"][measure]
            colour = _colour(report, name)
            known = [(day, value) for day, value in enumerate(days, 1) if value is not None]
            panel.plot(
                [day for day, _ in known],
                [value for _, value in known],
                "-o",
                color=colour,
                linewidth=1.0 if colour == GREY else 2.2,
                markersize=2 if colour == GREY else 4,
                label=name,
            )
        panel.set_ylim(bottom=0)
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlabel("day")
    handles, labels = panel.get_legend_handles_labels()
    marked = [
        (line, name) for line, name in zip(handles, labels, strict=True) if _colour(report, name) != GREY
    ]
    if marked:
        panel.legend(*zip(*marked, strict=True), frameon=False, fontsize=9)


def _panels(axes: Axes, n: int) -> Sequence[Axes]:
    """Replaces the axes by ``n`` axes side by side."""
    figure = axes.get_figure()
    assert figure is not None
    axes.remove()
    panels = [figure.add_subplot(1, n, at + 1) for at in range(n)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return panels


def _colour(report: Mapping[str, Any], name: str) -> str:
    """Returns the colour of the pair; without a pair the baseline has a colour."""
    pair = report["pair"] or {"without": report["baseline"], "with": None}
    return {pair["without"]: BLUE, pair["with"]: ORANGE}.get(name, GREY)
