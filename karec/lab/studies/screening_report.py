"""``screening.json`` and ``screening.html``: the funnel of screening by reason, and what it let through."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.evaluate.tables import with_interval
from karec.lab.report import BLUE, GREY, INK, ORANGE, page, picture, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1
WAYS = {
    "kept": "what is kept: rules, quality, near-duplicates, quotas",
    "by quality": "the best by quality, without quotas",
    "rules only": "drawn from what breaks no rule",
    "at random": "drawn from all uploads",
}
COLOURS = {"by quality": BLUE, "rules only": ORANGE, "at random": GREY}


def write_screening(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write both files; ``report`` as ``karec.lab.studies.screening.judge_screening`` gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "screening.json", folder / "screening.html"
    parts = [
        f"<h1>Screening</h1><p class=note>{html.escape(screening_sentence(report))}</p>",
        *(f"<p class=note>{html.escape(line)}</p>" for line in report["judged_notes"]),
        *(f"<p class=note>not met: {html.escape(line)}</p>" for line in report["violations"]),
        *(f"<p class=note>{html.escape(line)}</p>" for line in report["notes"]),
        "<h2>Later-popular works let through, by how many works are kept</h2>",
        picture(lambda axes: _draw_curve(axes, report), 7.5, 4.2),
        table(("at the size of what is kept", "recall, 95 % over days"), _recall_rows(report)),
        "<h2>The funnel: the first reason that a work meets</h2>",
        picture(lambda axes: _draw_funnel(axes, report), 7.5, 0.34 * len(report["funnel"]) + 0.9),
        table(("reason", "works", "of uploads", "later popular", "of them"), _funnel_rows(report)),
        "<h2>Quotas</h2>",
        table(("of", "candidates", "floor", "cap", "kept", "violation"), _quota_rows(report)),
    ]
    write_text_aside(shown, page("screening", parts))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1, ensure_ascii=False))
    return data, shown


def screening_sentence(report: Mapping[str, Any]) -> str:
    """What is let through, in a line."""
    recall = report["recall"]
    ratios = {name: recall[f"kept / {name}"]["value"] for name in ("at random", "rules only")}
    return (
        f"{report['days'][0]} … {report['days'][-1]}: {report['kept']:,} of {report['uploads']:,} works are "
        f"kept, and "
        f"{recall['kept']['value']:.1%} of the {report['popular']:,} that became popular "
        f"({report['popular_from']:,} "
        f"long views or more): {ratios['at random']:.1f} times as many as at random, "
        f"{ratios['rules only']:.1f} times as many as by rules only"
    )


def _recall_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    recall = report["recall"]
    return [(told, with_interval(recall[way]["value"], recall[way]["ci"], 3)) for way, told in WAYS.items()]


def _funnel_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            row["reason"],
            f"{row['works']:,}",
            f"{row['works'] / report['uploads']:.2%}",
            f"{row['popular']:,}",
            f"{row['popular'] / report['popular']:.2%}",
        )
        for row in report["funnel"]
    ]


def _quota_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            quota["name"],
            *(f"{quota[key]:,}" for key in ("supply", "floor", "cap", "kept")),
            f"{quota['violation']:+,}" if quota["violation"] else "–",
        )
        for quota in report["quotas"]
    ]


def _draw_curve(axes: Axes, report: Mapping[str, Any]) -> None:
    curve = report["curve"]
    for way, colour in COLOURS.items():
        axes.plot(curve["size"], curve[way], color=colour, label=WAYS[way])
    size, kept = report["kept"] / report["uploads"], report["recall"]["kept"]
    if kept["ci"] is not None:
        axes.plot([size, size], kept["ci"], color=INK, linewidth=1)
    axes.plot([size], [kept["value"]], "o", color=INK, label=WAYS["kept"])
    axes.set_xlabel("works kept, share of the uploads")
    axes.set_ylabel("later-popular works kept, share")
    axes.set_xlim(0, None)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _draw_funnel(axes: Axes, report: Mapping[str, Any]) -> None:
    rows = report["funnel"][::-1]
    places = range(len(rows))
    for shift, key, of, colour, told in (
        (0.2, "works", report["uploads"], GREY, "of the uploads"),
        (-0.2, "popular", report["popular"], BLUE, "of the later popular"),
    ):
        axes.barh(
            [y + shift for y in places], [row[key] / of for row in rows], 0.38, color=colour, label=told
        )
    axes.set_yticks(list(places), [row["reason"] for row in rows])
    axes.set_xlabel("share")
    axes.legend(frameon=False, fontsize=9)
