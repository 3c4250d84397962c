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
PIXELS_PER_INCH = 100
Points = tuple[Sequence[float], Sequence[float]]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 1060px; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 1.6rem 0 .4rem }
p { margin: .2rem 0 .8rem } p.note { color: #5a6876 } svg { width: 100%; height: auto }
.scroll { overflow-x: auto; margin: .4rem 0 1rem }
table { border-collapse: collapse } th, td { padding: .25rem .8rem; text-align: right; white-space: nowrap }
th { border-bottom: 1px solid #c5ced6; font-weight: 600 } td:first-child, th:first-child { text-align: left }
tr:nth-child(even) td { background: #f4f7f9 }
details { border-top: 1px solid #c5ced6; padding: .5rem 0 } summary { cursor: pointer; font-weight: 600 }
.figures, .charts, .items { display: grid; gap: 1rem 1.5rem; padding: 0; margin: 1rem 0; list-style: none }
.figures { grid-template-columns: repeat(auto-fit, minmax(min(11rem, 100%), 1fr)) }
.figures strong { display: block; font-size: 2.2rem; line-height: 1.2; color: #2f6fb0 }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)) }
.charts h2 { margin-top: 0 }
.items { grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)) }
.items li { border: 1px solid #c5ced6; border-radius: .4rem; padding: .6rem .8rem }
.items dl { display: grid; grid-template-columns: auto 1fr; gap: 0 .8rem; margin: .3rem 0 0 }
.items dt { color: #5a6876 } .items dd { margin: 0 }
"""


@dataclass(frozen=True)
class Table:
    """A table of text. The first column is aligned left. Cells do not break into lines."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of ``width`` × ``height`` inches. ``draw`` has an axes argument for each of its panels.

    ``panels``: numbers of rows and columns.
    """

    title: str
    draw: Callable[..., None]
    note: str = ""
    width: float = 7.0
    height: float = 4.0
    panels: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Details:
    """Parts of a page that are folded under their title."""

    title: str
    parts: Sequence[Part]


Part = Table | Chart | Details | str  # a string is a piece of HTML


def lines(curves: Mapping[str, Points], x: str, y: str) -> Callable[[Axes], None]:
    """Returns a function that draws ``curves`` {label: (x, y)} as lines with points."""

    def draw(axes: Axes) -> None:
        for (label, points), colour in zip(curves.items(), cycle(COLOURS), strict=False):
            axes.plot(*points, "o-", color=colour, markersize=4, label=label)
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
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><body><main><h1>{html.escape(title)}</h1>{to_html(parts)}</main></body></html>"
    )
    write_text_aside(page, text)
    write_text_aside(data, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False))
    return data, page


def note(text: str) -> str:
    return f"<p class=note>{html.escape(text)}</p>" if text else ""


def to_html(parts: Iterable[Part]) -> str:
    return "".join(map(_html, parts))


def _html(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Details):
        return f"<details><summary>{html.escape(part.title)}</summary>{to_html(part.parts)}</details>"
    title = html.escape(part.title)
    if isinstance(part, Table):  # scrolls by itself if it is wider than the page
        content = f'<div class=scroll role=region tabindex=0 aria-label="{title}">{_table(part)}</div>'
    else:
        size = f"max-width: {part.width * PIXELS_PER_INCH:.0f}px"
        content = f'<div role=img aria-label="{title}" style="{size}">{svg(part)}</div>'
    return f"<div><h2>{title}</h2>{note(part.note)}{content}</div>"


def _table(part: Table) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in part.head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in part.rows
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
        panels = figure.subplots(*chart.panels, squeeze=False).ravel().tolist()
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        chart.draw(*panels)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
