"""``fusion.json`` and ``fusion.html``: the frontier of objectives over fusion weights, in numbers and as a
picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.evaluate.tables import with_interval
from karec.lab.report import BLUE, GREY, ORANGE, page, picture, table
from karec.lab.studies.fusion import UNITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1  # of fusion.json


def write_fusion(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write both files; ``report`` {k, objectives, …, sources: {name: result of ``fusion_sweep``}}, as in
    docs/formats.md."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "fusion.json", folder / "fusion.html"
    parts = ["<h1>What the weights of fusion buy</h1>"]
    names = report["objectives"]
    for source, swept in report["sources"].items():
        parts += [
            f"<h2>{source}</h2><p class=note>{fusion_sentence(swept, report['k'])}</p>",
            picture(partial(_draw, rows=swept["rows"], objectives=names), 3.2 * max(len(names) - 1, 1), 3.2),
            table(fusion_head(names), fusion_rows(swept, names)),
        ]
    write_text_aside(shown, page("fusion weights", parts))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1))
    return data, shown


def fusion_sentence(swept: Mapping[str, Any], k: int) -> str:
    """How many lists, works, users and weights were measured, in a line."""
    works = swept["works"]
    n = sum(row["on_frontier"] for row in swept["rows"])
    return (
        f"top {k} of {swept['lists']:,} lists of {works['least']:,} to {works['most']:,} works, "
        f"{swept['users']:,} "
        f"users; {len(swept['rows']):,} choices of weights, of which {n:,} are on the frontier"
    )


def fusion_head(objectives: Sequence[str]) -> tuple[str, ...]:
    """The head of ``fusion_rows``."""
    named = (f"{name}, {UNITS[name]}" if name in UNITS else name for name in objectives)
    return ("shares of " + " : ".join(objectives), *named)


def fusion_rows(swept: Mapping[str, Any], objectives: Sequence[str]) -> list[tuple[str, ...]]:
    """The run's own weights, then the frontier by its first objective, best first: shares and what the top k
    holds."""
    own, *others = swept["rows"]
    best = sorted(
        (row for row in others if row["on_frontier"]), key=lambda row: -row["values"][objectives[0]]["value"]
    )
    return [
        (
            " : ".join(f"{row['shares'][name]:.2f}" for name in objectives)
            + (" (the run's)" if row is own else ""),
            *(with_interval(row["values"][name]["value"], row["values"][name]["ci"]) for name in objectives),
        )
        for row in (own, *best)
    ]


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], objectives: Sequence[str]) -> None:
    """A panel for each objective after the first: it against the first, every choice of weights a point."""
    figure = axes.get_figure()
    assert figure is not None
    axes.remove()
    first, *others = objectives
    for at, other in enumerate(others):
        panel = figure.add_subplot(1, len(others), at + 1)
        panel.spines[["top", "right"]].set_visible(False)
        for colour, size, of_row in (
            (GREY, 3, lambda row: not row["on_frontier"]),
            (BLUE, 4, lambda row: row["on_frontier"]),
            (ORANGE, 7, lambda row: row is rows[0]),
        ):
            points = [
                [row["values"][name]["value"] for name in (first, other)] for row in rows if of_row(row)
            ]
            if points:
                panel.plot(*zip(*points, strict=True), "o", color=colour, markersize=size)
        panel.set_xlabel(first)
        panel.set_ylabel(other)
