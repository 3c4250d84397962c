"""The report of ``karec evaluate consistency``: the agreement of prerank and rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from karec.evaluate.tables import (
    FUNNEL_HEAD,
    FUNNEL_NOTE,
    FUNNEL_TITLE,
    consistency_rows,
    consistency_sentence,
    funnel_rows,
)
from karec.lab.report import Chart, Part, Table, lines, write_report

FORMAT = 1  # of consistency.json
X, Y = "fraction of the pool that prerank keeps", "fraction of the ranker's best that it keeps"


def write_consistency(
    report: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]], folder: Path
) -> tuple[Path, Path]:
    """Writes consistency.json and consistency.html, as in docs/formats.md.

    ``report``: {origin of the pools: result of ``consistency``}, ``losses``: {origin: result of
    ``funnel_loss``}.
    """
    content = {"format": FORMAT, **report, "funnel_loss": losses}
    return write_report(content, folder, "consistency", "Do prerank and rank agree?", _parts(report, losses))


def _parts(
    report: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]]
) -> Iterator[Part]:
    for source, measured in report.items():
        curve = measured["curve"]
        shares = curve["share_of_pool"]
        curves = {
            "the ranker's top 10": (shares, curve["top_10"]),
            "the ranker's top 50": (shares, curve["top_50"]),
            "a random order": (shares, shares),
        }
        yield Chart(f"{source} pools", lines(curves, X, Y, log_x=True), consistency_sentence(measured))
        head = ("measure", "mean [95 % over users]", "pools")
        yield Table(f"{source} pools: measures", head, list(consistency_rows(measured)))
    for source, loss in losses.items():
        yield Table(f"{source}: {FUNNEL_TITLE}", FUNNEL_HEAD, list(funnel_rows(loss)), FUNNEL_NOTE)
