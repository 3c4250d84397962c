"""Lines of a text file: which line a row is, and whether the file is whole lines of text."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from karec.data.table_settings import Files
from karec.errors import DataError

LONGEST_LINE = 16 * 2**20  # bytes
LONGEST_STRICT_LINE = 2**20  # bytes


@contextmanager
def open_lines(path: Path, encoding: str) -> Iterator[Iterator[bytes]]:
    """Yields the lines of a file in UTF-8, unpacked if its name ends with .gz. Longer lines are split."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if encoding == "utf-8":  # lines can be of another encoding
                yield iter(partial(file.readline, LONGEST_LINE), b"")
            else:
                text_file = io.TextIOWrapper(cast(BinaryIO, file), encoding, "replace", newline="\n")
                yield (line.encode() for line in iter(partial(text_file.readline, LONGEST_LINE), ""))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def find_lines(
    path: Path, table: Files, rows: Collection[int], broken: Collection[int], *, is_csv: bool
) -> tuple[dict[int, int], dict[int, int]]:
    """Returns {row: line} and {position of a broken line: line}. O(bytes up to the last of them).

    DuckDB counts neither broken lines nor, in CSV, empty ones. Its own line numbers ignore empty lines.

    rows      numbers of rows as DuckDB counts them, 1 is the first
    broken    positions, in bytes of UTF-8, of lines that DuckDB could not split
    """
    line_of_row: dict[int, int] = {}
    line_of_position: dict[int, int] = {}
    has_quotes = is_csv and table.quoted
    open_positions = sorted(broken, reverse=True)
    line, row, is_quoted = 0, -1 if is_csv else 0, False
    start = 3 if table.encoding == "utf-16" else 0  # bytes of the byte order mark
    with open_lines(path, table.encoding) as lines:
        for line, text in enumerate(lines, 1):
            if len(line_of_row) == len(rows) and not open_positions:
                break
            end = start + len(text.rstrip(b"\r\n"))
            is_empty, is_broken = end == start, False
            while open_positions and open_positions[-1] < end:
                line_of_position[open_positions.pop()] = line
                is_broken = True
            start += len(text)
            has_odd_quotes = has_quotes and text.count(b'"') % 2 == 1
            if is_quoted:
                is_quoted = not has_odd_quotes
            elif not is_broken and not (is_csv and is_empty):
                row += 1
                is_quoted = has_odd_quotes
                if row in rows:
                    line_of_row[row] = line
    line_of_position |= dict.fromkeys(open_positions, line)
    return line_of_row, line_of_position


def check_lines(path: Path, table: Files, *, is_csv: bool) -> None:
    """Raises DataError that names the first line that is cut, too long, blank or not text."""
    number, n, blank = 0, 0, 0

    def refuse(reason: str) -> None:
        raise DataError(f"{path}: line {number} {reason}")

    with path.open("rb") as file:
        while line := file.readline(LONGEST_STRICT_LINE + 1):
            number += 1
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            if b"\0" in line:
                refuse("holds a NUL byte; expected text")
            if len(line) > LONGEST_STRICT_LINE:
                refuse(f"is longer than {LONGEST_STRICT_LINE} bytes")
            if not line.endswith(b"\n"):
                refuse("has no line end: the file was cut; expected its last line whole")
            if b"\r" in text:
                refuse("holds a carriage return that ends no line; remove it")
            try:
                line.decode(table.encoding)
            except UnicodeDecodeError as error:
                refuse(f"is not {table.encoding} text ({error.reason}); expected {table.encoding}")
            if is_csv and table.quoted and line.count(b'"') % 2:
                refuse("opens a quote and does not close it; quote whole cells only")
            if not text:
                blank = blank or number
            elif blank:
                number = blank
                refuse("is blank; remove it")
            else:
                n = number
    if n < 1 + is_csv:
        raise DataError(f"{path} has no row. data.toml is strict, so each file must have rows")
