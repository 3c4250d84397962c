"""The demo's report: funnel, times, quality and reach of a cascade's feeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from karec.evaluate.tables import (
    COLUMNS,
    FUNNEL_HEAD,
    FUNNEL_NOTE,
    FUNNEL_TITLE,
    funnel_rows,
    history_rows,
    quality_rows,
)
from karec.lab.demo.rounds import rounds_table
from karec.lab.report import Part, Table, note, write_report
from karec.lab.studies.feed_channels import feed_channel_rows
from karec.lab.studies.reach import reach_table
from karec.lab.studies.scenes import scenes_table

FORMAT = 4  # of report.json


def write_demo(report: Mapping[str, Any], folder: Path, loop: Sequence[Part] = ()) -> tuple[Path, Path]:
    """Writes report.json and report.html; docs/formats.md documents the keys.

    ``loop``: parts of the page on the report's ``loop``, if it has one.
    """
    data = report["data"]
    about = (
        f"{data['works']:,} works, {data['users']:,} users, {data['exposures']:,} exposures; "
        f"{report['requests']} "
        f"requests, {report['timings_ms']['total']:.1f} ms each; model version {report['versions']['model']}."
    )
    days = ["<h1>Three days on this platform</h1>", *loop, "<h1>The cascade</h1>"] if loop else []
    page_table = Table(
        "One page",
        ("place", "work", "score", "found by"),
        [
            (
                str(item["position"] + 1),
                str(item["id"]),
                f"{item['score']:.4f}",
                ", ".join(item["recalled_by"]),
            )
            for item in report["feed"]
        ],
    )
    parts = [note(about), *days, *demo_tables(report), page_table]
    return write_report({"format": FORMAT, **report}, folder, "report", f"karec on {data['name']}", parts)


def demo_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yields the tables that the terminal and the page show, in the order of the run."""
    funnel, timings = report["funnel"], report["timings_ms"]
    rows = [(name, f"{n:,}", f"{timings[name]:.2f}" if name in timings else "") for name, n in funnel.items()]
    rows.append(("whole request", "", f"{timings['total']:.2f}"))
    yield Table("The funnel (medians over requests, one thread)", ("stage", "works left", "ms"), rows)
    yield Table(FUNNEL_TITLE, FUNNEL_HEAD, list(funnel_rows(report["funnel_loss"])), FUNNEL_NOTE)
    for task in report["tasks"]:
        about = "95 % intervals over users; differences are paired, positive if the other model is better."
        yield Table(f"{task} on the test days", *quality_rows(report["quality"], task, COLUMNS), about)
        title = f"{task} by number of the user's earlier impressions: AUC [95 %]; GAUC"
        yield Table(title, *history_rows(report["quality_by_history"], task))
    if report["rounds"] is not None:
        yield rounds_table(report["rounds"])
    yield reach_table(report["reach"])
    if report["scenes"] is not None:
        yield scenes_table(report["scenes"])
    about = (
        "Fractions of the places of pages; karec lab recall --channels shows the loss without each source."
    )
    yield Table("Sources of the pages", *feed_channel_rows(report["feed_channels"]), about)
