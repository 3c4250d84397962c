"""``report.json`` and ``report.html``: funnel, times, quality and reach of a cascade's feeds."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.evaluate.tables import (
    COLUMNS,
    FUNNEL_HEAD,
    FUNNEL_NOTE,
    FUNNEL_TITLE,
    GAUC_COLUMNS,
    funnel_rows,
    history_rows,
    quality_rows,
)
from karec.lab.demo.rounds_report import ROUNDS_HEAD, rounds_rows, rounds_sentence
from karec.lab.report import BLUE, INK, ORANGE, page, picture, table
from karec.lab.studies.feed_channels import feed_channel_rows
from karec.lab.studies.reach_report import REACH_HEAD, reach_rows, reach_sentence
from karec.lab.studies.scenes_report import SCENES_HEAD, SCENES_NOTE, scenes_rows
from karec.lab.studies.top_tens import top_tens_sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 3  # of report.json


def write_report(report: Mapping[str, Any], folder: Path, loop: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into ``folder``; their keys are documented in
    docs/formats.md.

    ``loop``: pieces of HTML that tell of the report's ``loop``, where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "report.json", folder / "report.html"
    write_text_aside(shown, _page(report, loop))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1, ensure_ascii=False))
    return data, shown


def _page(report: Mapping[str, Any], loop: Sequence[str]) -> str:
    parts = [
        f"<h1>karec on {html.escape(report['data']['name'])}</h1>",
        f"<p class=note>{html.escape(_sentence(report))}</p>",
        *(["<h1>Three days on this platform</h1>", *loop, "<h1>The cascade</h1>"] if loop else []),
        "<h2>The funnel</h2><p class=note>Works left after each stage (medians, logarithmic scale).</p>",
        picture(lambda axes: _draw_funnel(axes, report["funnel"]), 8.5, 2.6),
        f"<h2>{FUNNEL_TITLE}</h2><p class=note>{FUNNEL_NOTE}</p>",
        table(FUNNEL_HEAD, list(funnel_rows(report["funnel_loss"]))),
        f"<p class=note>{html.escape(top_tens_sentence(report['top_tens']))}</p>",
        "<h2>Time of one request</h2><p class=note>Milliseconds a stage, median over requests, one "
        "thread.</p>",
        picture(lambda axes: _draw_timings(axes, report["timings_ms"]), 8.5, 2.6),
        *([] if report["diversity_curve"] is None else _curve(report["diversity_curve"])),
        "<h2>Quality on the test days</h2><p class=note>In brackets: 95 % intervals from resampling users. "
        "Differences are paired: positive where the ranker, or the towers, are better.</p>",
        *[_quality_tables(report, task) for task in report["tasks"]],
        *([] if report["rounds"] is None else _rounds(report["rounds"])),
        f"<h2>What the feeds reached</h2><p class=note>{html.escape(reach_sentence(report['reach']))}</p>",
        table(REACH_HEAD, reach_rows(report["reach"])),
        *([] if report.get("scenes") is None else _scenes(report["scenes"])),
        "<h2>Which channels the feeds come from</h2><p class=note>Shares of the feeds' places; karec "
        "evaluate recall "
        "--channels tells what feeds lose without each.</p>",
        table(*feed_channel_rows(report["feed_channels"])),
        "<h2>One feed</h2>",
        table(("place", "work", "score", "found by"), _feed_rows(report["feed"])),
    ]
    return page("karec report", parts)


def _sentence(report: Mapping[str, Any]) -> str:
    d = report["data"]
    return (
        f"{d['works']:,} works, {d['users']:,} users, {d['exposures']:,} exposures; {report['requests']} "
        f"requests, "
        f"{report['timings_ms']['total']:.1f} ms each; model version {report['versions']['model']}."
    )


def _curve(curve: Sequence[Mapping[str, float]]) -> list[str]:
    head = (
        "<h2>Relevance against diversity</h2><p class=note>DPP over what the ranker scored, at several "
        "settings of "
        "<code>diversity</code>; 0 is plain top-k.</p>"
    )
    return [head, picture(lambda axes: _draw_curve(axes, curve), 7, 4)]


def _rounds(rounds: Mapping[str, Any]) -> list[str]:
    note = f"{rounds_sentence(rounds)}. In brackets: 95 % intervals over users."
    head = f"<h2>What the second round learned</h2><p class=note>{html.escape(note)}</p>"
    return [head, table(ROUNDS_HEAD, rounds_rows(rounds))]


def _scenes(scenes: Mapping[str, Any]) -> list[str]:
    head = f"<h2>What scenes are worth</h2><p class=note>{html.escape(SCENES_NOTE)}</p>"
    return [head, table(SCENES_HEAD, scenes_rows(scenes))]


def _draw_funnel(axes: Axes, funnel: Mapping[str, int]) -> None:
    names, sizes = list(funnel), list(funnel.values())
    axes.barh(names, sizes, color=BLUE)
    axes.set_xscale("log")
    axes.set_xlim(1, max(sizes) * 4)
    axes.invert_yaxis()
    for i, size in enumerate(sizes):
        axes.text(size * 1.1, i, f"{size:,}", va="center", color=INK)


def _draw_timings(axes: Axes, timings: Mapping[str, float]) -> None:
    names = [name for name in timings if name != "total"]
    axes.barh(names, [timings[name] for name in names], color=ORANGE)
    axes.invert_yaxis()
    for i, name in enumerate(names):
        axes.text(timings[name], i, f" {timings[name]:.2f}", va="center", color=INK)


def _draw_curve(axes: Axes, curve: Sequence[Mapping[str, float]]) -> None:
    x, y = [p["distance"] for p in curve], [p["relevance"] for p in curve]
    axes.plot(x, y, "-o", color=BLUE, markersize=4)
    for point in curve:
        axes.annotate(
            f"{point['diversity']:g}",
            (point["distance"], point["relevance"]),
            xytext=(5, 5),
            textcoords="offset points",
            color=INK,
        )
    axes.set_xlabel("intra-list distance (mean 1 − cosine)")
    axes.set_ylabel("relevance (mean fused score)")


def _quality_tables(report: Mapping[str, Any], task: str) -> str:
    return (
        f"<h3>{html.escape(task)}</h3>"
        + table(*quality_rows(report["quality"], task, COLUMNS | GAUC_COLUMNS))
        + "<p class=note>By exposures of the user that were known before: AUC [95 %]; GAUC.</p>"
        + table(*history_rows(report["quality_by_history"], task))
    )


def _feed_rows(feed: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (str(i["position"] + 1), str(i["id"]), f"{i['score']:.4f}", ", ".join(i["recalled_by"])) for i in feed
    ]
