"""Where rows stand: a reader counts the rows that it can read, people count lines of a file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from karec.errors import DataError

FARTHEST = 5_000_000  # rows: beyond it a place is told by its row, since finding the line would take long


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where its name ends with .gz. What cannot be read is a DataError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def lines_at(path: Path, positions: Collection[int]) -> dict[int, int]:
    """{position: line} of bytes of the file; empty lines at a position are passed over."""
    found: dict[int, int] = {}
    with opened(path) as file:
        at, line = 0, 1
        for position in sorted(positions):
            while at < position:
                block = file.read(min(position - at, 2**20))
                if not block:
                    break
                at, line = at + len(block), line + block.count(b"\n")
            block = file.read(2)
            more = block.count(b"\n") if not block.strip(b"\r\n") else int(block[:1] == b"\n")
            at, line = at + len(block), line + block.count(b"\n")
            found[position] = line - block.count(b"\n") + more
    return found


def lines_of_rows(
    path: Path, rows: Collection[int], first: int, broken: Collection[int], csv: bool, quotes: bool
) -> dict[int, int]:
    """{row: line} of rows that a reader counts from ``first`` at the file's start, without the lines
    ``broken``.

    ``csv``: empty lines do not count; ``quotes``: a line end within quotes ends no row. Rows after FARTHEST
    are left out. O(bytes before the last of them).
    """
    wanted = {row for row in rows if row <= FARTHEST}
    found: dict[int, int] = {}
    row, inside = first - 1, False
    with opened(path) as file:
        for line, held in enumerate(file, 1):
            if len(found) == len(wanted):
                break
            if inside:
                inside ^= bool(held.count(b'"') % 2)
                continue
            if line in broken or (csv and not held.strip(b"\r\n")):
                continue
            row += 1
            if row in wanted:
                found[row] = line
            inside = quotes and bool(held.count(b'"') % 2)
    return found
