"""``report.json`` and ``report.html``: what a run of the cascade showed, for machines and for people.

The HTML is one file: styles and pictures (SVG) are inside, nothing is fetched.
"""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BLUE, ORANGE, GREY = "#1d2733", "#2f6fb0", "#d9772b", "#8a97a5"
QUALITY_COLUMNS = ("auc", "auc_behind", "gauc", "ece")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.note { color: #5a6876; margin: .2rem 0 .8rem } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; margin: .5rem 0 1rem } th, td { padding: .25rem .8rem; text-align: right }
th { border-bottom: 1px solid #c5ced6; font-weight: 600 } td:first-child, th:first-child { text-align: left }
tr:nth-child(even) td { background: #f4f7f9 } small { color: #5a6876 }
"""


def write_report(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into ``folder``; their keys are documented in docs/formats.md."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / "report.json", folder / "report.html"
    page.write_text(_page(report), encoding="utf-8")
    data.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    return data, page


def _page(report: Mapping[str, Any]) -> str:
    parts = [
        f"<h1>karec on {html.escape(report['data']['name'])}</h1>",
        f"<p class=note>{html.escape(_sentence(report))}</p>",
        "<h2>The funnel</h2><p class=note>Works left after each stage (medians, logarithmic scale).</p>",
        _svg(lambda axes: _draw_funnel(axes, report["funnel"]), 8.5, 2.6),
        "<h2>Time of one request</h2><p class=note>Milliseconds a stage, median over requests, one thread.</p>",
        _svg(lambda axes: _draw_timings(axes, report["timings_ms"]), 8.5, 2.6),
        "<h2>Relevance against diversity</h2><p class=note>DPP over what the ranker scored, at several settings of "
        "<code>diversity</code>; 0 is plain top-k.</p>",
        _svg(lambda axes: _draw_curve(axes, report["diversity_curve"]), 7, 4),
        "<h2>Quality on the test days</h2><p class=note>In brackets: 95 % intervals from resampling users.</p>",
        *[f"<h3>{html.escape(task)}</h3>" + _quality_table(report["quality"], task) for task in report["tasks"]],
        "<h2>What the feeds reached</h2>",
        _table(("measure", "cascade", "top-k by relevance"), _reach_rows(report["reach"])),
        "<h2>One feed</h2>",
        _table(("place", "work", "score", "found by"), _feed_rows(report["feed"])),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>karec report</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _sentence(report: Mapping[str, Any]) -> str:
    d = report["data"]
    return (
        f"{d['works']:,} works, {d['users']:,} users, {d['exposures']:,} exposures; {report['requests']} requests, "
        f"{report['timings_ms']['total']:.1f} ms each; model version {report['versions']['model']}."
    )


def _svg(draw: Callable[[Axes], None], width: float, height: float) -> str:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "cli", "the report's pictures") from error
    with rc_context({"svg.hashsalt": "karec", "svg.fonttype": "none", "font.size": 10, "axes.edgecolor": GREY}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


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


def _quality_table(quality: Mapping[str, Any], task: str) -> str:
    rows = [
        (
            model,
            *[_interval(by_task[task].get(column), by_task[task].get(f"{column}_ci")) for column in QUALITY_COLUMNS],
        )
        for model, by_task in quality.items()
        if task in by_task
    ]
    return _table(("model", "AUC", "behind the ranker, paired", "GAUC (user, day)", "ECE"), rows)


def _interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    bounds = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval is not None else ""
    return f"{value:.4f}{bounds}"


def _reach_rows(reach: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    measures = list(reach["cascade"])
    return [(m, f"{reach['cascade'][m]:,.4g}", f"{reach['top_k'][m]:,.4g}") for m in measures]


def _feed_rows(feed: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [(str(i["position"] + 1), str(i["id"]), f"{i['score']:.4f}", ", ".join(i["recalled_by"])) for i in feed]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
