"""Pages in a simulation's report: histograms, random pages, and the worst ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from karec.lab.report import Chart, Details, Part, Table
from karec.lab.simulate.pictures import HISTOGRAMS, draw_histograms

HEAD = ("day, user, page", "creators", "songs", "tags", "play, s", "likes", "broken rules")
NOTE = (
    "A page is a row: equal letters are equal creators, songs or tags, in the order of the page. Play and "
    "likes are the expected ones of the page. A rule of the home template is broken by each item that ends a "
    "window with too many equal values; the pages before count. Rows of works are in report.json."
)


def page_parts(report: Mapping[str, Any]) -> Iterator[Part]:
    """Yields the parts on pages."""
    yield Chart(
        "Repeated creators",
        lambda *panels: draw_histograms(panels, report),
        "Left: items of one creator on a page. Right: impressions of one creator for one user in seven days, "
        "or in all days if there are fewer.",
        width=12,
        height=4,
        panels=(1, len(HISTOGRAMS)),
    )
    for name, arm in report["arms"].items():
        pages = arm["facts"]["pages"]
        title = f"Pages of “{name}”: {pages['n_broken']:,} of {pages['n_pages']:,} break a rule"
        samples = pages["samples"].items()
        tables = [Table(kind.capitalize(), HEAD, [_row(page) for page in chosen]) for kind, chosen in samples]
        yield Details(title, [f"<p class=note>{NOTE}</p>", *tables])


def _row(page: Mapping[str, Any]) -> list[str]:
    return [
        f"{page['day'] + 1}, {page['user']}, {page['page'] + 1}",
        *(_letters(page[column]) for column in ("creators", "songs", "tags")),
        f"{page['play_s']:.0f}",
        f"{page['likes']:.2f}",
        str(page["broken"]),
    ]


def _letters(values: Sequence[int]) -> str:
    """Returns a letter for each value in the order of first appearance, for example "ABAC"."""
    names = {value: chr(ord("A") + n) for n, value in enumerate(dict.fromkeys(values))}
    return "".join(names[value] for value in values)
