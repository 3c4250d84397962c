"""Opens a data file, and checks that it is whole lines of text before anything parses it.

Memory is bounded: a file is looked at in blocks, and refused at the first block that cannot be text.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError

MAX_LINE = 1 << 20  # bytes
NUL_FOUND = "holds a NUL byte; expected text"
_NUL, _NEWLINE, _RETURN, _QUOTE = 0, 10, 13, 34


def open_file(path: Path, expected: str) -> BinaryIO:
    """The regular file at ``path``, links followed. DataError for anything else: a folder, a device, a pipe
    (which is not waited for), a circle of links.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; expected {expected}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}; expected {expected}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{path} is a folder, a pipe or a device; expected a regular file: {expected}")
    return os.fdopen(descriptor, "rb")


def count_lines(file: BinaryIO, path: Path, encoding: str, quoted: bool) -> int:
    """The number of lines of ``file`` (1 is the header), blank ones at its end left out; it is then at its
    start again.

    DataError names the first line that is longer than MAX_LINE, holds a NUL byte, a lone carriage return or
    bytes of another encoding, or is blank before another line; where cells may be ``quoted``, one that opens
    a quote and does not close it; and a last line without its end, which was cut.
    """
    n, blank, left = 0, 0, b""
    while chunk := file.read(MAX_LINE):
        whole, newline, left = (left + chunk).rpartition(b"\n")
        if newline:
            n, blank = _check_block(whole + newline, path, (n, blank), encoding, quoted)
        if b"\0" in left:
            _refuse(path, n + blank + 1, NUL_FOUND)
        if len(left) > MAX_LINE:
            _refuse(path, n + blank + 1, f"is longer than {MAX_LINE} bytes")
    if left:
        _refuse(path, n + blank + 1, "has no line end: the file was cut; expected its last line whole")
    file.seek(0)
    return n


def _check_block(
    block: bytes, path: Path, before: tuple[int, int], encoding: str, quoted: bool
) -> tuple[int, int]:
    """(lines up to the last that is not blank, blank lines after it), counted from ``before``, the same of
    earlier blocks. ``block`` ends with a newline.
    """
    first = sum(before) + 1
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)

    def refuse_at(places: NDArray[Any], why: str) -> None:
        if len(places):
            _refuse(path, first + int(np.searchsorted(ends, places[0])), why)

    refuse_at(np.flatnonzero(data == _NUL), NUL_FOUND)
    returns = np.flatnonzero(data == _RETURN)
    refuse_at(returns[data[returns + 1] != _NEWLINE], "holds a carriage return that ends no line; remove it")
    try:
        block.decode(encoding)
    except UnicodeDecodeError as error:
        refuse_at(np.array([error.start]), f"is not {encoding} text ({error.reason}); expected {encoding}")
    if quoted:
        odd = np.searchsorted(np.flatnonzero(data == _QUOTE), ends) % 2
        refuse_at(ends[odd > 0], "opens a quote and does not close it; quote whole cells only")
    starts = np.concatenate([[0], ends[:-1] + 1])
    filled = np.flatnonzero((ends > starts) & (data[starts] != _RETURN))
    # the lines of text, and where they stand
    at, gap = np.arange(len(filled)) + before[0] + 1, filled + first
    if (at != gap).any():
        _refuse(path, int(at[np.argmax(at != gap)]), "is blank; remove it")
    n = int(gap[-1]) if len(filled) else before[0]
    return n, first + len(ends) - 1 - n


def _refuse(path: Path, line: int, why: str) -> None:
    raise DataError(f"{path}: line {line} {why}")
