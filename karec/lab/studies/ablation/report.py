"""``ablation.json``, ``ablation.md`` and ``ablation.svg``: the ablation's table as JSON, Markdown and a
picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec._files import write_text_aside
from karec.evaluate.tables import with_interval
from karec.lab.report import BLUE, GREY, INK, ORANGE, picture
from karec.lab.studies.ablation.table import COMPARED_WITH, TOPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1  # of ablation.json
COLOURS = {"full": BLUE, "static": ORANGE, None: GREY}


def write_ablation(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Path]:
    """Write the three files; ``report`` as ``karec.lab.studies.ablation.study.run_ablation`` gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text, shown = (folder / f"ablation.{kind}" for kind in ("json", "md", "svg"))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1))
    write_text_aside(text, "\n".join(ablation_markdown(report)) + "\n")
    tasks = report["tasks"]
    height = 0.9 + 0.28 * len(report["rows"])
    write_text_aside(shown, picture(lambda axes: _draw_auc(axes, report["rows"], tasks[0]), 8.5, height))
    return data, text, shown


def ablation_markdown(report: Mapping[str, Any]) -> Iterator[str]:
    """The tables in Markdown, line by line: a table a task, one of agreement with the ranker, one of gaps and
    costs."""
    seeds = report["seeds"]
    yield (
        f"{report['data']}, measured on {report['measured_on']}: {report['exposures']:,} exposures, "
        f"{report['pools']['pools']} pools of {report['pools']['works']} works, {len(seeds)} seed"
        f"{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))}). In brackets 95 % intervals over "
        f"users, "
        "paired for gains; **bold** where such an interval excludes 0."
    )
    for title, head, rows in ablation_tables(report):
        yield from ("", f"### {title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|")
        for row in rows:
            yield "| " + " | ".join(row) + " |"


def ablation_tables(report: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, head, rows) of each table."""
    rows, titles = report["rows"], {row["name"]: row["title"] for row in report["rows"]}
    for task in report["tasks"]:
        head = ["row", "AUC", "gain over", "gain in AUC", "GAUC (user, day)", "gain in GAUC", "ECE"]
        body = [
            [
                row["title"],
                _with_interval(row["measures"][f"{task}.auc"]),
                titles.get(row["parent"], "") if "gains" in row else "",
                _gain(row, f"{task}.auc"),
                _with_interval(row["measures"][f"{task}.gauc"], 3),
                _gain(row, f"{task}.gauc", 3),
                f"{row['measures'][f'{task}.ece']['value']:.4f}",
            ]
            for row in rows
        ]
        yield task, head, body
    measures = [name for name in rows[0]["measures"] if name.startswith(("hit", "NDCG"))] if rows else []
    agreement = [
        [
            row["title"],
            *(f"{row['measures'][name]['value']:.3f}" for name in measures),
            *(_gain(row, name, 3) for name in measures[-1:]),
        ]
        for row in rows
    ]
    yield "agreement with the ranker in whole pools", ["row", *measures, f"gain in {measures[-1]}"], agreement
    kept = [name for row in rows for name in row["measures"] if name.endswith("kept")]
    whole = [
        [
            row["title"],
            *(_with_interval(row["measures"].get(name), 3) for name in dict.fromkeys(kept)),
            f"{row['measures'][TOPS]['value']:.0f}",
        ]
        for row in rows
        if TOPS in row["measures"]
    ]
    if whole:
        yield f"order of {report['whole']['works']:,} works", ["row", *dict.fromkeys(kept), TOPS], whole
    yield from _over_tables(report, titles)
    costs = [
        [
            row["title"],
            *(_with_interval(row["gap_closed"].get(f"{task}.auc") or None, 2) for task in report["tasks"]),
            f"{row['seconds']:.0f}",
            f"{row['peak_gib']:.2f}",
        ]
        for row in rows
    ]
    gaps = [f"gap closed, {task}" for task in report["tasks"]]
    yield (
        "share of the gap in AUC from hard labels to the ranker, and cost",
        ["row", *gaps, "s", "GiB at most"],
        costs,
    )


def _over_tables(
    report: Mapping[str, Any], titles: Mapping[str, str]
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """What each row gains over some rows that all are compared with."""
    for other in COMPARED_WITH:
        rows = [row for row in report["rows"] if other in row["over"]]
        names = list(rows[0]["over"][other]) if rows else []
        if names:
            body = [[row["title"], *(_signed(row["over"][other][name]) for name in names)] for row in rows]
            yield f"gain over {titles[other]}", ["row", *(name.replace(".auc", "") for name in names)], body


def _with_interval(measure: Mapping[str, Any] | None, digits: int = 4) -> str:
    return "" if measure is None else with_interval(measure["value"], measure["ci"], digits)


def _gain(row: Mapping[str, Any], name: str, digits: int = 4) -> str:
    gain = row.get("gains", {}).get(name)
    return "" if gain is None else _signed(gain, digits)


def _signed(gain: Mapping[str, Any], digits: int = 4) -> str:
    low, high = gain["ci"]
    text = f"{gain['value']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _draw_auc(axes: Axes, rows: Sequence[Mapping[str, Any]], task: str) -> None:
    for at, row in enumerate(rows):
        measure = row["measures"][f"{task}.auc"]
        low, high = measure["ci"]
        axes.plot([low, high], [at, at], color=COLOURS[row["towers"]], linewidth=2)
        axes.plot([measure["value"]], [at], "o", color=COLOURS[row["towers"]], markersize=5)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows], color=INK)
    axes.invert_yaxis()
    axes.set_xlabel(f"AUC, {task}, with 95 % intervals over users")
