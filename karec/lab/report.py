"""Reports: a JSON file with all numbers, and one HTML page with tables and charts that loads no file."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.errors import MissingExtra
from karec.files import write_text_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BLUE, ORANGE, GREY = "#1d2733", "#2f6fb0", "#d9772b", "#8a97a5"
COLOURS = (BLUE, ORANGE, "#3f9b5f", "#8a5fb5", GREY)
Points = tuple[Sequence[float], Sequence[float]]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 980px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.note { color: #5a6876; margin: .2rem 0 .8rem } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; margin: .5rem 0 1rem } th, td { padding: .25rem .8rem; text-align: right }
th { border-bottom: 1px solid #c5ced6; font-weight: 600 } td:first-child, th:first-child { text-align: left }
tr:nth-child(even) td { background: #f4f7f9 }
"""


@dataclass(frozen=True)
class Table:
    """A table of text. The first column is aligned left."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of ``width`` × ``height`` inches; ``draw`` draws it."""

    title: str
    draw: Callable[[Axes], None]
    note: str = ""
    width: float = 7.0
    height: float = 4.0


Part = Table | Chart | str  # a string is a piece of HTML


def lines(curves: Mapping[str, Points], x: str, y: str, *, log_x: bool = False) -> Callable[[Axes], None]:
    """Returns a function that draws ``curves`` {label: (x, y)} as lines with points."""

    def draw(axes: Axes) -> None:
        for (label, points), colour in zip(curves.items(), cycle(COLOURS), strict=False):
            axes.plot(*points, "o-", color=colour, markersize=4, label=label)
        if log_x:
            axes.set_xscale("log")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.legend(frameon=False, fontsize=9)

    return draw


def write_report(
    report: Mapping[str, Any], folder: Path, name: str, title: str, parts: Iterable[Part]
) -> tuple[Path, Path]:
    """Writes ``name``.json, which holds ``report``, and ``name``.html, which shows ``parts``."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / f"{name}.json", folder / f"{name}.html"
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><body><h1>{html.escape(title)}</h1>{''.join(map(_html, parts))}</body></html>"
    )
    write_text_aside(page, text)
    write_text_aside(data, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False))
    return data, page


def note(text: str) -> str:
    return f"<p class=note>{html.escape(text)}</p>" if text else ""


def _html(part: Part) -> str:
    if isinstance(part, str):
        return part
    shown = table(part.head, part.rows) if isinstance(part, Table) else svg(part)
    return f"<h2>{html.escape(part.title)}</h2>{note(part.note)}{shown}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns an HTML table."""
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"


def svg(chart: Chart) -> str:
    """Returns the chart as SVG. The same data give the same bytes.

    Raises MissingExtra if matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "lab", "a picture") from error
    with rc_context(
        {"svg.hashsalt": "karec", "svg.fonttype": "none", "font.size": 10, "axes.edgecolor": GREY}
    ):
        figure = Figure(figsize=(chart.width, chart.height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        chart.draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = out.getvalue()
    return drawn[drawn.index("<svg") :]
