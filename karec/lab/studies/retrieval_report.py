"""``retrieval.json`` and ``retrieval.html``: what towers, ranker and peers find of what was held out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from karec._files import write_text_aside
from karec.evaluate.tables import with_interval
from karec.lab.report import page, table

FORMAT = 1  # of retrieval.json


def write_retrieval(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write both files; ``report`` as ``karec.lab.studies.retrieval.study`` gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "retrieval.json", folder / "retrieval.html"
    parts = [f"<h1>What was held out, and found</h1><p class=note>{retrieval_sentence(report)}</p>"]
    parts += [f"<p class=note>{note}</p>" for note in report["notes"]]
    for title, head, rows in retrieval_tables(report):
        parts += [f"<h2>{title}</h2>", table(head, rows)]
    write_text_aside(shown, page("retrieval", parts))
    write_text_aside(data, json.dumps({"format": FORMAT, **report}, indent=1))
    return data, shown


def retrieval_sentence(report: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    ranked = (
        f"; the ranker orders the towers' best {report['ranked']:,}" if "ranker" in report["models"] else ""
    )
    return (
        f"{report['data']}: {report['held_out']:,} works held out of {report['users']:,} users, among "
        f"{report['works']:,} works, those that a user took before left out{ranked}"
    )


def retrieval_tables(
    report: Mapping[str, Any],
) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """(title, head, rows): a table for each measure, and the peers' settings."""
    models = report["models"]
    for name in next(iter(models.values())):
        rows: list[tuple[str, ...]] = [
            (model, with_interval(found[name]["value"], found[name]["ci"]),
             with_interval(found[name]["over"], found[name]["over_ci"]))
            for model, found in models.items()
        ]  # fmt: skip
        best = next(iter(models.values()))[name]["best_peer"]
        yield f"{name} (95 % intervals over users)", ("model", name, f"above {best}, paired"), rows
    settings: list[tuple[str, ...]] = [
        (peer, ", ".join(f"{key} {value}" for key, value in chosen.items()) or "none")
        for peer, chosen in report["settings"].items()
    ]
    yield "Settings of the peers, chosen on the validation days", ("peer", "settings"), settings
