"""``diversity.json`` and ``diversity.html``: diversity against lost relevance of each method, in numbers and
curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.lab.report import BLUE, GREY, INK, ORANGE, page, picture, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1  # of diversity.json
COLOURS = {"dpp": BLUE, "mmr": ORANGE, "ssd": "#3f9b5f", "scatter": "#8a5fb5"}
CURVES = {
    "distance": "intra-list distance (mean 1 − cosine)",
    "distance_of_ten": "distance within ten neighbours",
    "log_det": "log det (ridge 0.01)",
    "near_duplicates": "share of pairs with cosine > .95",
    "creators": "creators covered",
}
DIVERSITY_HEAD = (
    "method",
    "setting",
    "lost",
    "log det",
    "distance",
    "of ten",
    "near dup.",
    "works",
    "Gini",
    "creators",
    "Gini",
    "types",
)


def write_diversity(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write both files into ``folder``; ``report`` as ``diversity_sweep`` gives it, documented in
    docs/formats.md."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "diversity.json", folder / "diversity.html"
    parts = ["<h1>Diversity, and what it costs</h1>", f"<p class=note>{diversity_sentence(report)}</p>"]
    for measure, label in CURVES.items():
        if measure in report["points"][0]:
            drawn = picture(lambda axes, m=measure, name=label: _draw(axes, report, m, name), 7, 3.6)  # type: ignore[misc]
            parts += [f"<h2>{label}</h2>", drawn]
    parts += ["<h2>All measures</h2>", table(DIVERSITY_HEAD, diversity_rows(report))]
    write_text_aside(shown, page("diversity", parts))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1))
    return data, shown


def diversity_sentence(report: Mapping[str, Any]) -> str:
    """How many pools and works were measured, in a line."""
    return (
        f"{report['k']} works of each of {report['pools']:,} pools ({report['pool_size']:,.0f} works in the "
        f"median); "
        "lost: relevance against plain top-k, in standard deviations of the pool"
    )


def diversity_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of DIVERSITY_HEAD for each point."""
    return [
        (
            point["method"],
            "" if point["setting"] is None else f"{point['setting']:g}",
            f"{point['relevance_lost']:.3f}",
            f"{point['log_det']:.1f}",
            f"{point['distance']:.3f}",
            f"{point['distance_of_ten']:.3f}",
            f"{point['near_duplicates']:.4f}",
            f"{point['works']:,}",
            f"{point['gini_works']:.3f}",
            f"{point['creators']:,}" if "creators" in point else "–",
            f"{point['gini_creators']:.3f}" if "gini_creators" in point else "–",
            " ".join(f"{value}:{share:.2f}" for value, share in point.get("type_share", {}).items()) or "–",
        )
        for point in report["points"]
    ]


def _draw(axes: Axes, report: Mapping[str, Any], measure: str, label: str) -> None:
    plain = next(point for point in report["points"] if point["method"] == "top_k")
    axes.axhline(plain[measure], color=GREY, linewidth=0.8, linestyle="--")
    axes.text(0, plain[measure], " top-k", color=INK, va="bottom")
    for method, colour in COLOURS.items():
        points = [plain, *[point for point in report["points"] if point["method"] == method]]
        if len(points) > 1:
            x, y = [point["relevance_lost"] for point in points], [point[measure] for point in points]
            axes.plot(x, y, "-o", color=colour, markersize=4, label=method)
    axes.set_xlabel("relevance lost against top-k (deviations)")
    axes.set_ylabel(label)
    axes.legend(frameon=False)
