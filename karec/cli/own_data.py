"""The commands `karec data init` and `karec data check`."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from karec.cli.inputs import progress_bars, table_console
from karec.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from karec.data.report import DataReport, Reason


def init(arguments: argparse.Namespace) -> None:
    from karec.data.contract import FILE, preset_contract, preset_text
    from karec.data.draft import write_contract
    from karec.files import write_text_aside

    first: Path = arguments.paths[0]
    folder: Path = arguments.out or (first if first.is_dir() else first.parent)
    if arguments.preset is not None:
        folder = preset_contract(arguments.preset, folder).folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    if path.exists():
        raise FileExistsError(f"{path} exists. Move it, or name another folder with --out.")
    if arguments.preset is not None:
        write_text_aside(path, preset_text(arguments.preset))
        print(f"written: {path}\nnext: karec data check {folder}")
        return
    text = write_contract(arguments.paths, folder)
    write_text_aside(path, text)
    print(text)
    print(f"written: {path}\nnext: check the lines with ?, then karec data check {folder}")


def check(arguments: argparse.Namespace) -> None:
    from karec.data.load import load

    console = table_console()
    with tempfile.TemporaryDirectory(prefix="karec-ids-") as ids, progress_bars() as progress:
        report = load(arguments.folder, Path(ids), progress, skip_bad=True, preset=arguments.preset).report
    if arguments.json:
        print(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        for table in report_tables(report):
            console.print(table)
        for note in (*report.notes, *(note for table in report.tables for note in table.odd_notes())):
            console.print(f"note: {note}")
    bad = {
        table.name: sum(reason.count for reason in table.bad.values()) for table in report.tables if table.bad
    }
    if bad and not arguments.skip_bad:
        counts = ", ".join(f"{count:,} of {name}" for name, count in bad.items())
        raise DataError(
            f"{arguments.folder}: rows that cannot be used, {counts}: mend them, or leave them out with "
            f"--skip-bad"
        )


def report_tables(report: DataReport) -> Iterator[Table]:
    """Yields tables of rows by table, rows left out by reason, columns, and the dataset."""
    from karec.cli.tables import text_table

    rows = [
        (
            table.name,
            f"{table.rows:,}",
            f"{table.kept:,}",
            _format_sum(table.bad),
            _format_sum(table.left_out),
        )
        for table in report.tables
    ]
    yield text_table(f"{report.name}: rows", ("table", "rows", "kept", "cannot be used", "left out"), rows)
    reasons = [
        (table.name, why, f"{reason.count:,}", ", ".join(reason.places))
        for table in report.tables
        for why, reason in (*table.bad.items(), *table.left_out.items())
    ]
    if reasons:
        yield _wrapped_table("Rows that were not kept", ("table", "reason", "rows", "first places"), reasons)
    columns = [
        (
            table.name,
            column.name,
            column.kind,
            column.becomes,
            f"{column.missing:.1%}" if column.missing else "",
            f"{column.least} … {column.most}" if column.least else "",
        )
        for table in report.tables
        for column in table.columns
    ]
    yield _wrapped_table("Columns", ("table", "column", "kind", "use", "missing", "range"), columns)
    facts = [
        ("shape of the log", report.shape),
        ("users", f"{report.users:,}, {report.users_without_row:,} of them only in the log"),
        ("items", f"{report.items:,}, {report.items_without_exposure:,} of them never shown"),
        *([("unknown items", f"{report.unknown_items:,}, only in the log")] if report.unknown_items else []),
        ("impressions", f"{report.exposures:,}"),
        *((f"label {name}", f"{share:.2%} are positive") for name, share in report.labels.items()),
        *((f"{part} impressions", f"{count:,}") for part, count in report.parts.items()),
        *((_MOMENTS[name], moment) for name, moment in report.moments.items()),
    ]
    yield text_table("The dataset", ("property", "value"), facts, 2)


_MOMENTS = {
    "first": "first impression",
    "training": "training begins",
    "validation": "validation begins",
    "test": "the test begins",
    "last": "last impression",
}


def _format_sum(reasons: Mapping[str, Reason]) -> str:
    return f"{sum(reason.count for reason in reasons.values()):,}" if reasons else ""


def _wrapped_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(*head, title=title, title_justify="left", header_style="bold")
    for row in rows:
        table.add_row(*row)
    return table
