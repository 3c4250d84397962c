"""Compares arms over several worlds: mean and Student's t interval. A world is a random effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.report import Chart, Part, Table, write_report
from karec.lab.simulate.pictures import draw_frontier
from karec.lab.simulate.report_tables import (
    CREATORS_SIDE,
    IMPRESSIONS_SIDE,
    PAGES_SIDE,
    USER_CHANGES,
    USERS_SIDE,
    Columns,
    format_change,
)

_REACH_COLUMNS = {name: CREATORS_SIDE[name] for name in ("creators_1_a_day", "works_1_a_day")}
CHANGES: Mapping[str, Columns] = {  # {title: measures}
    "for a user and day": USERS_SIDE,
    "for an impression": IMPRESSIONS_SIDE,
    "of reach": _REACH_COLUMNS,
}
MEASURES = (*USERS_SIDE, *IMPRESSIONS_SIDE, *_REACH_COLUMNS, *PAGES_SIDE)
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # 97.5 %, 1 to 9 degrees
MAX_WORLDS = len(T_QUANTILES) + 1

Estimate = dict[str, Any]  # {"value", "ci", "relative", "relative_ci"}; None if it is unknown in a world


def compare_worlds(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns means over worlds with intervals, in the form of a report; ``reports``: of ``loop_report``.

    ``relative`` is the mean change against the baseline in percent, within each world.
    """
    baseline, names = reports[0]["baseline"], list(reports[0]["arms"])
    values = {
        name: {
            measure: np.array([_value(report["arms"][name]["measures"][measure]) for report in reports])
            for measure in MEASURES
        }
        for name in names
    }
    arms: dict[str, Any] = {}
    for name in names:
        measures = {m: _estimate(values[name][m], values[baseline][m]) for m in MEASURES}
        changes = [report["arms"][name]["users"] for report in reports]
        users = {
            change: _estimate(np.array([np.nan if c[change] is None else c[change] for c in changes]))
            for change in changes[0]
        }
        arms[name] = {"measures": measures, "users": users}
    return {"baseline": baseline, "pair": reports[0]["pair"], "worlds": len(reports), "arms": arms}


def worlds_tables(comparison: Mapping[str, Any]) -> Iterator[Table]:
    """Yields tables of changes against the baseline, whose row has means; then means of pages and users."""
    arms, baseline = comparison["arms"], comparison["baseline"]
    names = [baseline, *(name for name in arms if name != baseline)]
    scope = f"mean of {comparison['worlds']} worlds with Student's t interval"
    for title, columns in CHANGES.items():
        rows = [
            [
                name,
                *(
                    _format_mean(arms[name]["measures"][measure], digits)
                    if name == baseline
                    else _format_relative(arms[name]["measures"][measure])
                    for measure, (_, digits) in columns.items()
                ),
            ]
            for name in names
        ]
        yield Table(f"Change {title} against {baseline} in percent, {scope}", _head(columns), rows)
    rows = [
        [name, *(_format_mean(arms[name]["measures"][m], digits) for m, (_, digits) in PAGES_SIDE.items())]
        for name in names
    ]
    yield Table(f"Pages, {scope}", _head(PAGES_SIDE), rows)
    rows = [
        [name, *(_format_mean(arms[name]["users"].get(m), digits) for m, (_, digits) in USER_CHANGES.items())]
        for name in names[1:]
    ]
    yield Table(f"Fraction of users against {baseline}, {scope}", _head(USER_CHANGES), rows)


def write_worlds(comparisons: Iterable[Mapping[str, Any]], folder: Path) -> Path:
    """Writes worlds.json and worlds.html with all ``comparisons``; returns the page."""
    comparisons = list(comparisons)
    parts: list[Part] = []
    for comparison in comparisons:
        parts += worlds_tables(comparison)
        parts.append(frontier_chart(comparison))
    report = {"format": 1, "comparisons": comparisons}
    return write_report(report, folder, "worlds", "karec: simulated worlds", parts)[1]


def frontier_chart(report: Mapping[str, Any]) -> Chart:
    """Returns the chart of reach against true play and likes.

    ``report``: that of one world, or a comparison of worlds.
    """
    return Chart(
        "Reach against play and likes",
        lambda *panels: draw_frontier(panels, report),
        "Each point is an arm: x is the number of creators with an impression per day, y the play time and "
        f"the likes, relative to “{report['baseline']}”. No other arm is better than a filled point in both.",
        width=12,
        height=5,
        panels=(1, 2),
    )


def mean_interval(values: NDArray[Any]) -> tuple[float, tuple[float, float]]:
    """Returns the mean of ``values`` (2 to MAX_WORLDS,) and its 95 % interval by Student's t."""
    mean, n = float(values.mean()), len(values)
    half = T_QUANTILES[n - 2] * float(values.std(ddof=1)) / n**0.5
    return mean, (mean - half, mean + half)


def _value(measure: Mapping[str, Any]) -> float:
    return float("nan") if measure["value"] is None else float(measure["value"])


def _estimate(values: NDArray[Any], base: NDArray[Any] | None = None) -> Estimate:
    parts = {"value": values}
    if base is not None:
        parts["relative"] = 100.0 * (values / np.where(base > 0, base, np.nan) - 1.0)
    estimate: Estimate = {}
    for name, part in parts.items():
        mean, interval = mean_interval(part) if np.isfinite(part).all() else (None, None)
        estimate[name] = mean
        estimate["ci" if name == "value" else f"{name}_ci"] = interval
    return estimate


def _format_relative(estimate: Estimate) -> str:
    return format_change(estimate["relative"], estimate["relative_ci"], 1)


def _head(columns: Columns) -> list[str]:
    return ["arm", *(head for head, _ in columns.values())]


def _format_mean(estimate: Estimate | None, digits: int) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    low, high = estimate["ci"]
    text = f"{estimate['value']:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
    return text.replace("-", "\N{MINUS SIGN}")
