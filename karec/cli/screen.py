"""``karec screen``: selects the uploads of a library that may be recommended."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karec.cli.options import DAY_FORMATS, Json, Report
from karec.cli.output import ProgressReport, make_console, print_json, print_notes, require_extra, text_table

if TYPE_CHECKING:
    from rich.console import Console

    from karec.screening.screen import ScreeningResult


def screen(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="A screen.toml.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for kept works and reasons.")],
    train: Annotated[
        bool, typer.Option("--train", help="First train the quality model from outcomes.")
    ] = False,
    last: Annotated[
        datetime | None,
        typer.Option(
            metavar="YYYY-MM-DD", formats=DAY_FORMATS, help="Last day of the window (default: the newest)."
        ),
    ] = None,
    library: Annotated[
        bool,
        typer.Option("--library", help="Also write a library version for data.toml and karec ingest."),
    ] = False,
    live_uploads: Annotated[
        bool,
        typer.Option(
            "--live-uploads",
            help="Also delete the uploads since the version before that a service took as events and that "
            "are not kept. With --library.",
        ),
    ] = False,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Select the uploads that may be recommended, and count the others by reason.

    DIR gets kept.parquet, screen.json and one file per day in days/. Days that were screened before are not
    read again.
    """
    if report is not None:
        require_extra("lab", "--report")
    if train:
        require_extra("train", "--train")
    if live_uploads and not library:
        raise ValueError("--live-uploads needs --library")
    from karec.files import check_writable_folder
    from karec.pipeline.deadline import usable_cores
    from karec.screening.library_version import write_library_version
    from karec.screening.outcomes import require_learn
    from karec.screening.screen import screen as screen_library
    from karec.screening.settings import read_settings

    console = make_console()
    table = read_settings(settings)
    threads = usable_cores()
    if report is not None:
        require_learn(table, settings)  # the report needs outcomes
        check_writable_folder(report)
    notes = []
    with ProgressReport() as progress:
        if train:
            from karec.learn.run.quality_model import train_quality

            model = train_quality(table, settings, threads=threads, progress=progress)
            notes = [
                f"{model.path}: {model.trees} trees, from {model.rows:,} works of {model.first} … "
                f"{model.last}; AUC {model.auc:.3f} on {model.held_out:,} works of the last days",
                *model.notes,
            ]
        day = None if last is None else last.date()
        result = screen_library(table, out, last=day, threads=threads, progress=progress)
        version = None
        if library:
            newest = date.fromisoformat(result.last)
            version = write_library_version(table, out, newest, has_live_uploads=live_uploads)
        judged = None
        if report is not None:
            from karec.lab.studies.screening import judge_screening

            judged = judge_screening(table, settings, out, progress)
    notes += [*(f"not met: {line}" for line in result.violations), *result.notes]
    page = None
    if report is not None and judged is not None:
        from karec.lab.studies.screening import screening_sentence, write_screening

        _, page = write_screening(judged, report)
        notes += [screening_sentence(judged), *judged["judged_notes"]]
    if as_json:
        print_json(
            {
                "kept": str(out / "kept.parquet"),
                "last": result.last,
                "days": len(result.days),
                "uploads": result.uploads,
                "works": result.total(),
                "quotas": list(result.quotas),
                "notes": notes,
                "library": None if version is None else [str(path) for path in version if path is not None],
                "report": None if page is None else str(page),
            }
        )
        return
    _print_result(console, result)
    print_notes(console, notes)
    print(f"kept: {out / 'kept.parquet'}")
    for path in version or ():
        if path is not None:
            print(f"library: {path}")
    if page is not None:
        print(f"report: {page}")


def _print_result(console: Console, result: ScreeningResult) -> None:
    uploads = result.uploads
    rows = [("uploads", f"{uploads:,}", "")]
    rows += [(reason, f"{n:,}", f"{n / max(uploads, 1):.1%}") for reason, n in result.total().items()]
    console.print(f"{len(result.days)} days until {result.last}, {len(result.redone)} of them screened now")
    console.print(text_table("Uploads by outcome", ("outcome", "works", "fraction"), rows))
    if result.quotas:
        columns = ("supply", "floor", "cap", "kept")
        quotas = [(quota["name"], *(f"{quota[name]:,}" for name in columns)) for quota in result.quotas]
        console.print(text_table("Quotas", ("quota", "candidates", "floor", "cap", "kept"), quotas))
