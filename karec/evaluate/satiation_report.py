"""``satiation.json`` and ``satiation.html``: what repeats of a creator or tag change, in numbers and as a
picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.evaluate.page import BLUE, GREY, INK, ORANGE, page, picture, table, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1  # of satiation.json
WIDEST = 1.0  # what a panel shows of an effect
COLOURS = {"past": BLUE, "user": INK, "user and value": ORANGE}

REPEATS = (
    *("cause", "n", "held by", "repeated", "positive", "plain", "before", "after", "1 : 2 : 3+ repeats"),
)
PASSED = ("cause", "within", "held by", "repeated", "positive", "effect")

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def write_satiation(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write both files; ``report`` as ``karec.evaluate.satiation.satiation`` gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "satiation.json", folder / "satiation.html"
    parts = [f"<h1>What repeats change</h1><p class=note>{satiation_sentence(report)}</p>"]
    parts += [f"<p class=note>{note}</p>" for note in report["notes"]]
    whole = [row for row in report["repeats"] if row["given"] is None]
    causes, tasks = (list(dict.fromkeys(row[key] for row in whole)) for key in ("cause", "task"))
    parts += [
        "<p class=note>The label's logit, for each repeat among the last n exposures. Held equal: what was "
        "known by "
        "then (blue), the user too (black), the user's liking of the value (orange). Crosses are repeats "
        "that come "
        "after the exposure, which cannot tire.</p>",
        picture(lambda axes: _draw(axes, whole, causes, tasks), 3.4 * len(causes), 2.4 * len(tasks)),
    ]
    for title, head, rows in satiation_tables(report):
        parts += [f"<h2>{title}</h2>", table(head, rows)]
    write_text_aside(shown, page("satiation", parts))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1))
    return data, shown


def satiation_sentence(report: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    apart = report["seconds_apart"]
    return (
        f"{report['data']}: {report['exposures']:,} exposures of {report['users']:,} users, a user's "
        f"{apart['50%']:,.0f} s apart (median; a tenth under {apart['10%']:,.0f} s), "
        f"{report['shown_again']:,} "
        "of a work that the user had been shown; effects are on the logit, with 95 % intervals over users"
    )


def satiation_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """(title, head, rows): two for each task, over all exposures and over those with the first task's label.
    Effects that are too rare have no row.
    """
    for task, given in dict.fromkeys((row["task"], row["given"]) for row in report["repeats"]):
        what = task if given is None else f"{task} of exposures with {given}"
        near, past = (
            [
                row
                for row in report[key]
                if (row["task"], row["given"]) == (task, given) and row[effect] is not None
            ]
            for key, effect in (("repeats", "before"), ("ago", "effect"))
        )
        yield f"{what}: for each repeat among the last n exposures", REPEATS, [_repeats(row) for row in near]
        since = f"{what}: by the time since the value was last shown, against over a day"
        yield since, PASSED, [_ago(row) for row in past]


def _repeats(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["cause"],
        str(row["window"]),
        row["way"],
        f"{row['repeated']:,}",
        f"{row['positive']:,}",
        *(_short(row[key]) for key in ("plain", "before", "after")),
        " : ".join("–" if level is None else f"{level['value']:+.2f}" for level in row["levels"].values()),
    )


def _ago(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["cause"],
        row["ago"],
        row["way"],
        f"{row['repeated']:,}",
        f"{row['positive']:,}",
        _short(row["effect"]),
    )


def _short(effect: Mapping[str, Any] | None) -> str:
    return "–" if effect is None else with_interval(effect["value"], effect["ci"], 3)


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], causes: Sequence[str], tasks: Sequence[str]) -> None:
    """A panel for each task and cause: the effect by n, with intervals, and as crosses that of repeats
    after."""
    figure = axes.get_figure()
    assert figure is not None
    axes.remove()
    for at, (task, cause) in enumerate((task, cause) for task in tasks for cause in causes):
        panel = figure.add_subplot(len(tasks), len(causes), at + 1)
        panel.spines[["top", "right"]].set_visible(False)
        panel.axhline(0.0, color=GREY, linewidth=0.8)
        windows = list(dict.fromkeys(row["window"] for row in rows))
        for shift, (way, colour) in zip((-0.2, 0.0, 0.2), COLOURS.items(), strict=True):
            known = [
                (windows.index(row["window"]) + shift, row)
                for row in rows
                if (row["task"], row["cause"], row["way"]) == (task, cause, way) and row["before"] is not None
            ]
            for x, row in known:
                panel.plot([x, x], row["before"]["ci"], color=colour, linewidth=1)
                panel.plot([x], [row["before"]["value"]], "o", color=colour, markersize=4)
                if row["after"] is not None:
                    panel.plot([x], [row["after"]["value"]], "x", color=colour, markersize=4)
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, -WIDEST), min(high, WIDEST))
        panel.set_xlim(-0.5, len(windows) - 0.5)
        panel.set_xticks(range(len(windows)), [str(n) for n in windows])
        panel.set_title(f"{task}, {cause}", loc="left", fontsize=10)
