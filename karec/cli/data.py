"""``karec data``: describes files in a data.toml, and checks what is read from them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karec.cli.options import Json, SkipBad
from karec.cli.output import ProgressReport, make_console, print_json, print_notes, text_table
from karec.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from karec.data.report import DataReport, Reason

Preset = Annotated[
    str | None, typer.Option(metavar="NAME", help="Known download without a data.toml: kuairand, lastfm.")
]
TIMES = {
    "first": "first impression",
    "training": "training begins",
    "validation": "validation begins",
    "test": "test begins",
    "last": "last impression",
}


def init(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or a folder with them.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for data.toml (default: that of the first PATH)."),
    ] = None,
    preset: Preset = None,
) -> None:
    """Write a data.toml that describes files: the log, the items, and the role of each column.

    Comments have the reasons; guesses have a question mark. An existing data.toml stays.
    """
    from karec.data.contract import FILE, preset_contract, preset_text
    from karec.data.draft import write_contract
    from karec.files import check_writable_folder, write_text_aside

    folder = out or (paths[0] if paths[0].is_dir() else paths[0].parent)
    if preset is not None:
        folder = preset_contract(preset, folder).folder
    check_writable_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    if path.exists():
        raise FileExistsError(f"{path} exists. Move it, or name another folder with --out.")
    text = write_contract(paths, folder) if preset is None else preset_text(preset)
    write_text_aside(path, text)
    if preset is None:
        print(text)
    print(f"written: {path}\nnext: check the lines with ?, then karec data check {folder}")


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with a data.toml.")],
    preset: Preset = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Report the rows that are read, kept and left out, with reasons. Exit code 2 if rows cannot be used."""
    from karec.data.load import load

    console = make_console()
    with tempfile.TemporaryDirectory(prefix="karec-ids-") as ids, ProgressReport() as progress:
        report = load(folder, Path(ids), progress, skip_bad=True, preset=preset).report
    if as_json:
        print_json(report.to_dict())
    else:
        for table in report_tables(report):
            console.print(table)
        print_notes(
            console, (*report.notes, *(note for table in report.tables for note in table.odd_notes()))
        )
    counts = ", ".join(
        f"{_format_sum(table.unusable)} of {table.name}" for table in report.tables if table.unusable
    )
    if counts and not skip_bad:
        raise DataError(
            f"{folder}: rows that cannot be used, {counts}. Correct them, or leave them out with --skip-bad."
        )


def report_tables(report: DataReport) -> Iterator[Table]:
    """Yields tables of rows by table, rows left out by reason, columns, and the dataset."""
    rows = [
        (
            table.name,
            f"{table.rows:,}",
            f"{table.kept:,}",
            _format_sum(table.unusable),
            _format_sum(table.left_out),
        )
        for table in report.tables
    ]
    yield text_table(f"{report.name}: rows", ("table", "rows", "kept", "cannot be used", "left out"), rows)
    reasons = [
        (table.name, text, f"{reason.count:,}", ", ".join(reason.places))
        for table in report.tables
        for text, reason in (*table.unusable.items(), *table.left_out.items())
    ]
    if reasons:
        head = ("table", "reason", "rows", "first places")
        yield text_table("Rows that were not kept", head, reasons, len(head))
    columns = [
        (
            table.name,
            column.name,
            column.kind,
            column.use,
            f"{column.missing:.1%}" if column.missing else "",
            f"{column.minimum} … {column.maximum}" if column.minimum else "",
        )
        for table in report.tables
        for column in table.columns
    ]
    column_head = ("table", "column", "kind", "use", "missing", "range")
    yield text_table("Columns", column_head, columns, len(column_head))
    users = (
        f"{report.users_without_row:,} only in the log, {report.users_without_impression:,} without events"
    )
    facts = [
        ("shape of the log", report.shape),
        ("users", f"{report.users:,}, {users}"),
        ("items", f"{report.items:,}, {report.items_without_impression:,} without events"),
        *([("unknown items", f"{report.unknown_items:,}, only in the log")] if report.unknown_items else []),
        ("impressions", f"{report.impressions:,}"),
        *((f"label {name}", f"{fraction:.2%} are positive") for name, fraction in report.labels.items()),
        *((f"{part} impressions", f"{count:,}") for part, count in report.parts.items()),
        *((TIMES[name], time) for name, time in report.times.items()),
    ]
    yield text_table("The dataset", ("property", "value"), facts, 2)


def _format_sum(reasons: Mapping[str, Reason]) -> str:
    return f"{sum(reason.count for reason in reasons.values()):,}" if reasons else ""
