"""A report's page: one HTML file that holds its styles and pictures (SVG) and loads nothing."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from karec.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BLUE, ORANGE, GREY = "#1d2733", "#2f6fb0", "#d9772b", "#8a97a5"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 980px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.note { color: #5a6876; margin: .2rem 0 .8rem } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; margin: .5rem 0 1rem } th, td { padding: .25rem .8rem; text-align: right }
th { border-bottom: 1px solid #c5ced6; font-weight: 600 } td:first-child, th:first-child { text-align: left }
tr:nth-child(even) td { background: #f4f7f9 } small { color: #5a6876 }
div.side { display: flex; gap: 1.2rem; flex-wrap: wrap; width: max-content; max-width: 96vw }
div.side > div { flex: 1 1 30rem } div.side table { font-size: 12px }
div.side td, div.side th { text-align: left; padding: .15rem .4rem }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """``parts`` are pieces of HTML, in order."""
    return (
        f"<!doctype html><html lang=en><meta "
        f"charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


def picture(draw: Callable[[Axes], None], width: float, height: float) -> str:
    """An SVG of ``width`` × ``height`` inches that ``draw`` fills; the same data give the same bytes."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "lab", "a picture") from error
    with rc_context(
        {"svg.hashsalt": "karec", "svg.fonttype": "none", "font.size": 10, "axes.edgecolor": GREY}
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = out.getvalue()
    return drawn[drawn.index("<svg") :]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column is text, the others are aligned right."""
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"
