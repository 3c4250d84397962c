"""The report of an ablation: ablation.json, and its tables in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from karec.evaluate.tables import format_measure
from karec.files import write_text_aside
from karec.lab.report import Table
from karec.lab.studies.ablation.table import COMPARED_WITH, TOPS

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
        f"seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))}). In brackets 95 % intervals "
        "over users, paired for gains; **bold** where such an interval excludes 0."
    )
    for table in ablation_tables(report):
        head = table.head
        yield from ("", f"### {table.title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|")
        for row in table.rows:
            yield "| " + " | ".join(row) + " |"


def ablation_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yields a table for each task, of agreement with the ranker, of whole orders, of gains, of costs."""
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
        yield Table(task, head, body)
    measures = [name for name in rows[0]["measures"] if name.startswith(("hit", "NDCG"))] if rows else []
    agreement = [
        [
            row["title"],
            *(f"{row['measures'][name]['value']:.3f}" for name in measures),
            *(_gain(row, name, 3) for name in measures[-1:]),
        ]
        for row in rows
    ]
    head = ["row", *measures, f"gain in {measures[-1]}"]
    yield Table("agreement with the ranker in whole pools", head, agreement)
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
        head = ["row", *dict.fromkeys(kept), TOPS]
        yield Table(f"order of {report['whole']['works']:,} works", head, whole)
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
    title = "share of the gap in AUC from hard labels to the ranker, and cost"
    yield Table(title, ["row", *gaps, "s", "GiB at most"], costs)


def _over_tables(report: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[Table]:
    """Yields the gains of each row over the rows that all are compared with."""
    for other in COMPARED_WITH:
        rows = [row for row in report["rows"] if other in row["over"]]
        names = list(rows[0]["over"][other]) if rows else []
        if names:
            body = [[row["title"], *(_signed(row["over"][other][name]) for name in names)] for row in rows]
            head = ["row", *(name.replace(".auc", "") for name in names)]
            yield Table(f"gain over {titles[other]}", head, body)


def _with_interval(measure: Mapping[str, Any] | None, digits: int = 4) -> str:
    return "" if measure is None else format_measure(measure["value"], measure["ci"], digits)


def _gain(row: Mapping[str, Any], name: str, digits: int = 4) -> str:
    gain = row.get("gains", {}).get(name)
    return "" if gain is None else _signed(gain, digits)


def _signed(gain: Mapping[str, Any], digits: int = 4) -> str:
    low, high = gain["ci"]
    text = f"{gain['value']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"**{text}**" if low > 0 or high < 0 else text
