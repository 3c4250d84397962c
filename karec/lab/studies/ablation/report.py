"""The report of an ablation: ablation.json, and its tables in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from karec.evaluate.tables import format_measure
from karec.files import write_text_aside
from karec.lab.report import Table
from karec.lab.studies.ablation.table import COMPARED_WITH

FORMAT = 1  # of ablation.json


def write_ablation(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes ablation.json and ablation.md; ``report`` as ``run_ablation`` returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text = (folder / f"ablation.{kind}" for kind in ("json", "md"))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1))
    write_text_aside(text, "\n".join(ablation_markdown(report)) + "\n")
    return data, text


def ablation_markdown(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields the tables in Markdown, line by line."""
    seeds = report["seeds"]
    yield (
        f"{report['data']}, measured on {report['measured_on']}: {report['exposures']:,} exposures, "
        f"{report['pools']['pools']} pools of {report['pools']['works']} works, {len(seeds)} "
        f"seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))}). In brackets: 95 % intervals "
        "over users, paired for gains. **Bold**: the interval excludes 0."
    )
    for table in ablation_tables(report):
        head = table.head
        yield from ("", f"### {table.title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|")
        for row in table.rows:
            yield "| " + " | ".join(row) + " |"


def ablation_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yields a table for each task, of agreement with the ranker, of the library's order, of gains, of
    costs."""
    rows, titles = report["rows"], {row["name"]: row["title"] for row in report["rows"]}
    for task in report["tasks"]:
        head = ["row", "AUC", "GAUC (user, day)", "ECE"]
        body = [
            [
                row["title"],
                _with_interval(row["measures"][f"{task}.auc"]),
                _with_interval(row["measures"][f"{task}.gauc"], 3),
                f"{row['measures'][f'{task}.ece']['value']:.4f}",
            ]
            for row in rows
        ]
        yield Table(task, head, body)
    names = [name for name in rows[0]["measures"] if name.startswith(("hit", "NDCG"))]
    body = [
        [
            row["title"],
            *(f"{row['measures'][name]['value']:.3f}" for name in names),
        ]
        for row in rows
    ]
    yield Table("agreement with the ranker in whole pools", ["row", *names], body)
    names = list(dict.fromkeys(name for row in rows for name in row["measures"] if name.endswith("kept")))
    if names:
        body = [
            [row["title"], *(_with_interval(row["measures"].get(name), 3) for name in names)]
            for row in rows
            if names[0] in row["measures"]
        ]
        yield Table(f"order of {report['library']['works']:,} works", ["row", *names], body)
    for other in COMPARED_WITH:
        compared = [row for row in rows if other in row["over"]]
        names = list(compared[0]["over"][other]) if compared else []
        if names:
            body = [
                [row["title"], *(_signed(row["over"][other][name]) for name in names)] for row in compared
            ]
            head = ["row", *(name.replace(".auc", "") for name in names)]
            yield Table(f"gain over {titles[other]}", head, body)
    body = [[row["title"], f"{row['seconds']:.0f}", f"{row['peak_gib']:.2f}"] for row in rows]
    yield Table("cost of a training", ["row", "s", "peak GiB"], body)


def _with_interval(measure: Mapping[str, Any] | None, digits: int = 4) -> str:
    return "" if measure is None else format_measure(measure["value"], measure["ci"], digits)


def _signed(gain: Mapping[str, Any]) -> str:
    low, high = gain["ci"]
    text = f"{gain['value']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"**{text}**" if low > 0 or high < 0 else text
