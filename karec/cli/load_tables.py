"""What ``karec load`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from karec.cli.tables import text_table


def load_tables(report: Mapping[str, Any]) -> list[Table]:
    plan, latency, refused = report["plan"], report["latency_ms"], report["refused_latency_ms"]
    title = (
        f"{plan['url']}: {report['requests']:,} feeds in {plan['seconds']:g} s, {plan['rate']:,g} a second "
        f"({plan['arrivals']}), {plan['connections']} connections. Milliseconds"
    )
    rows = [
        ("answered, from the moment it was due", *_cells(latency["from_moment"])),
        ("answered, from when it was sent", *_cells(latency["service"])),
    ]
    if report["refused_share"]:
        rows += [
            ("refused, from the moment it was due", *_cells(refused["from_moment"])),
            ("refused, from when it was sent", *_cells(refused["service"])),
        ]
    if report["event_requests"]:
        rows.append(("events, from the moment they were due", *_cells(report["events_latency_ms"])))
    rows.append(("the generator's own lateness", *_cells(report["generator"]["late_ms"])))
    return [
        text_table(title, ("", *latency["service"]), rows),
        text_table("What became of them", ("", ""), list(_outcome_rows(report))),
    ]


def _outcome_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    plan = report["plan"]
    within = (
        "" if plan["deadline_ms"] is None else f", within {plan['deadline_ms']:g} + {plan['slack_ms']:g} ms"
    )
    return [
        (f"goodput: feeds a second{within}", f"{report['goodput_per_s']:,.1f}"),
        (f"share of feeds that were good{within}", f"{report['good_share']:.4%}"),
        ("feeds a second that were answered at all", f"{report['answered_per_s']:,.1f}"),
        *((f"status {name}" if name.isdigit() else name, f"{n:,}") for name, n in report["statuses"].items()),
        *((f"degraded: {name}", f"{n:,}") for name, n in report["degraded"].items()),
        *((f"events refused: {name}", f"{n:,}") for name, n in report["events_refused"].items()),
        ("a core of the generator", f"{report['generator']['cpu_share']:.0%}"),
    ]


def peak_table(peak: float, reports: Sequence[Mapping[str, Any]]) -> Table:
    head = (
        "feeds and events a second",
        "goodput a second",
        "good",
        "p50 ms",
        "p99 ms",
        "refused",
        "generator's core",
    )
    rows = []
    for report in reports:
        latency, core = report["latency_ms"]["from_moment"], report["generator"]["cpu_share"]
        rows.append(
            (
                f"{report['plan']['rate']:,.1f}",
                f"{report['goodput_per_s']:,.1f}",
                f"{report['good_share']:.2%}",
                *_cells({name: latency[name] for name in ("p50", "p99")}),
                f"{report['refused_share']:.2%}",
                f"{core:.0%}",
            )
        )
    return text_table(f"Peak goodput: {peak:,.1f} feeds a second", head, rows, 0)


def _cells(quantiles: Mapping[str, float | None]) -> list[str]:
    return ["–" if value is None else f"{value:,.2f}" for value in quantiles.values()]
