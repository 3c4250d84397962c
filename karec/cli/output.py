"""Output of the commands: tables and JSON on standard output, progress on standard error."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.table import Table

from karec.errors import MissingExtra

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from karec.lab.report import Table as ReportTable

FILE_WIDTH = 140  # columns of a table that goes to a file or another program
# Packages by extra, which commands need at the latest when they publish or report.
PACKAGES = {"lab": ("matplotlib",), "train": ("torch", "onnx", "onnxscript", "igraph", "scipy")}
LINE_PAUSE_S = 30.0  # between two progress lines if standard error is not a terminal


def make_console() -> Console:
    """Returns a console for standard output. Texts may contain brackets and colons."""
    width = None if sys.stdout.isatty() else FILE_WIDTH
    return Console(width=width, markup=False, emoji=False)


def print_json(document: object) -> None:
    print(json.dumps(document, indent=1, ensure_ascii=False))


def print_notes(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"note: {note}")


def print_tables(console: Console, tables: Iterable[ReportTable]) -> None:
    """Prints tables of reports, with their notes."""
    for table in tables:
        console.print(text_table(table.title, table.head, table.rows))
        if table.note:
            console.print(table.note)


def text_table(
    title: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str | int]],
    text_columns: int = 1,
) -> Table:
    """Returns a table whose first ``text_columns`` columns are aligned left.

    On a narrow terminal a cell takes several lines: nothing is cut.
    """
    min_width = min(len(title), 40)  # narrower, a title takes a line for each word
    table = Table(title=title, title_justify="left", header_style="bold", min_width=min_width)
    for column, name in enumerate(head):
        table.add_column(name, justify="left" if column < text_columns else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(format_cell, row))
    return table


def facts_table(title: str, facts: Mapping[str, str | int]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, format_cell(value))
    return table


def format_cell(value: str | int) -> str:
    """Returns a number with separators of thousands, or the text."""
    return value if isinstance(value, str) else f"{value:,}"


def require_extra(extra: str, purpose: str) -> None:
    """Raises MissingExtra if a package of ``PACKAGES`` is not installed."""
    for package in PACKAGES[extra]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra, purpose)


class ProgressReport:
    """Progress of long work on standard error, a ``karec.times.Progress`` and a context manager.

    On a terminal there is a bar for each task. Otherwise a line reports the current task every 30 seconds.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, markup=False, emoji=False, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._line_s = time.monotonic()

    def __call__(self, done: int, total: int, task: str) -> None:
        if self._bars is not None:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total)
            self._bars.update(self._tasks[task], completed=done, total=total)
        elif time.monotonic() - self._line_s >= LINE_PAUSE_S:
            self._line_s = time.monotonic()
            self.note(f"{task}: {done:,} of {total:,}")

    def note(self, line: str) -> None:
        """Prints a line, on a terminal above the bars."""
        self._console.print(line, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description:<44}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bars = Progress(*columns, console=self._console)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
