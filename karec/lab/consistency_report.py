"""``consistency.json`` and ``consistency.html``: the agreement of prerank and rank, in numbers and as a
picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.evaluate.tables import (
    FUNNEL_HEAD,
    FUNNEL_NOTE,
    FUNNEL_TITLE,
    consistency_rows,
    consistency_sentence,
    funnel_rows,
)
from karec.lab.report import BLUE, GREY, ORANGE, page, picture, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 2  # of consistency.json; format 1 had no funnel_loss
COLOURS = {"top_10": BLUE, "top_50": ORANGE}


def write_consistency(
    report: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]], folder: Path
) -> tuple[Path, Path]:
    """Write both files; ``report`` {source of the pools: result of ``consistency``} and ``losses`` {source:
    result of ``funnel_loss``}, as in docs/formats.md."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "consistency.json", folder / "consistency.html"
    parts = ["<h1>Do prerank and rank agree?</h1>"]
    for source, measured in report.items():
        parts += [
            f"<h2>{source} pools</h2><p class=note>{consistency_sentence(measured)}</p>",
            picture(lambda axes, curve=measured["curve"]: _draw_curve(axes, curve), 7, 4),  # type: ignore[misc]
            table(("measure", "mean [95 % over users]", "pools"), list(consistency_rows(measured))),
        ]
    if losses:
        parts += [f"<h2>{FUNNEL_TITLE}</h2><p class=note>{FUNNEL_NOTE}</p>"]
    for source, loss in losses.items():
        parts += [f"<h3>{source}</h3>", table(FUNNEL_HEAD, list(funnel_rows(loss)))]
    write_text_aside(shown, page("prerank and rank", parts))
    write_text_aside(data, json.dumps({"format": FORMAT, **report, "funnel_loss": losses}, indent=1))
    return data, shown


def _draw_curve(axes: Axes, curve: Mapping[str, list[float]]) -> None:
    shares = curve["share_of_pool"]
    axes.plot(shares, shares, "--", color=GREY, label="a random order")
    for name, colour in COLOURS.items():
        axes.plot(shares, curve[name], color=colour, label=f"the ranker's {name.replace('_', ' ')}")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("share of the pool that prerank keeps")
    axes.set_ylabel("share of them that it keeps")
    axes.legend(frameon=False, loc="upper left")
