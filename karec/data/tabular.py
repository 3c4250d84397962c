"""Delimited text files into NumPy columns, with errors that name file, column, line and what was expected."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from karec.data.lines import MAX_LINE, count_lines, open_file
from karec.errors import DataError, MissingExtra
from karec.types import Array

MISSING = "missing"
MAX_TEXT = 200  # characters of a cell that is a name
NAME, NAME_IS = r"[^\x00-\x1f\x7f]*", f"a text of at most {MAX_TEXT} characters, none of them a control character"
_SHOWN = 80  # characters of a cell or a header that a message repeats


def arrow() -> Any:
    """The pyarrow package with its CSV and Parquet readers."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "log", "reading data files") from error
    return pyarrow


def read_columns(
    path: Path, columns: Mapping[str, type], *, delimiter: str = ",", encoding: str = "utf8", quoted: bool = True
) -> dict[str, Array]:
    """The named columns of a delimited file with a header line, in the file's order of rows; row i is line i + 2.

    ``int`` gives int64 (an empty cell is an error), ``float`` finite float64 (an empty cell is NaN), ``str`` an object
    array of str (an empty cell is ``""``). Raises DataError for anything but a regular file of whole lines, a missing
    column or one that stands twice, a line with more or fewer cells than the header, and a cell of another type.
    """
    with open_file(path, f"a delimited file with the columns {short(list(columns))}") as file:
        n_lines = count_lines(file, path, encoding, quoted)
        header = _header(file, path, columns, delimiter, encoding, quoted)
        table = _parsed(file, path, columns, header, delimiter, encoding, quoted)
    if n_lines < 2:
        raise DataError(f"{path}: no rows below the header; expected at least one")
    if table.num_rows != n_lines - 1:
        raise DataError(
            f"{path}: {n_lines - 1} lines below the header, {table.num_rows} rows in them: a quote in the middle of a "
            "cell joins lines; quote whole cells only"
        )
    return {name: _to_numpy(path, name, table[name], kind) for name, kind in columns.items()}


def require(path: Path, name: str, good: Array, expected: str, values: Array, *, unit: str = "line") -> None:
    """DataError naming file, column, place and value of the first bad cell: its line, which is 1 for the header, or its
    place from 1 on as another ``unit``.
    """
    bad = np.flatnonzero(~good)
    if len(bad):
        at = int(bad[0]) + (2 if unit == "line" else 1)
        raise DataError(f"{path}: column {name!r}, {unit} {at}: {short(values[bad[0]])} — expected {expected}")


def require_ids(path: Path, name: str, ids: Array, *, unit: str = "line") -> None:
    """DataError unless each id is ≥ 0 and stands once."""
    require(path, name, ids >= 0, "an id ≥ 0", ids, unit=unit)
    again = np.ones(len(ids), bool)
    again[np.unique(ids, return_index=True)[1]] = False
    require(path, name, ~again, "each id once", ids, unit=unit)


def categories(values: Array) -> tuple[Array, list[str]]:
    """(codes (N,) int32, names): the distinct texts, sorted, and the place of each value in them; "" is "missing"."""
    names = sorted(set(values))
    place = {name: at for at, name in enumerate(names)}
    return np.array([place[value] for value in values], np.int32), [name or MISSING for name in names]


def require_texts(path: Path, name: str, values: Array, pattern: str = NAME, expected: str = NAME_IS) -> None:
    """DataError unless each text has at most MAX_TEXT characters and is all ``pattern``."""
    fits = re.compile(pattern)
    bad = {value for value in set(values) if len(value) > MAX_TEXT or not fits.fullmatch(value)}
    if bad:
        require(path, name, np.array([value not in bad for value in values]), expected, values)


def empty_cells(path: Path, raw: Mapping[str, Array]) -> list[str]:
    """A note of the cells of ``raw`` that are empty, by column; none where there are none."""
    counts = {name: int((np.isnan(v) if v.dtype.kind == "f" else v == "").sum()) for name, v in raw.items()}
    said = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return [f"{path.name}: empty cells, taken as unknown: {said}"] if said else []


def single_texts(path: Path, raw: Mapping[str, Array], names: Iterable[str]) -> list[str]:
    """A note of the texts that stand in one row alone of the columns ``names``, by column: each may be a slip."""
    singles = {name: sorted(text for text, n in Counter(raw[name]).items() if n == 1 and text) for name in names}
    said = ", ".join(f"{name} {', '.join(map(short, texts[:3]))}" for name, texts in singles.items() if texts)
    n = sum(map(len, singles.values()))
    return [f"{path.name}: {n} names that stand in one row alone: {said}"] if said else []


def _header(
    file: BinaryIO, path: Path, columns: Mapping[str, type], delimiter: str, encoding: str, quoted: bool
) -> list[str]:
    """The names in the first line; each of ``columns`` stands among them once. ``file`` is at its start again."""
    text = file.readline(MAX_LINE).decode("utf-8-sig" if encoding == "utf8" else encoding).rstrip("\r\n")
    file.seek(0)
    if not text:
        raise DataError(f"{path} is empty; expected a header with the columns {short(list(columns))}")
    try:
        header = next(csv.reader([text], delimiter=delimiter)) if quoted else text.split(delimiter)
    except csv.Error as error:
        raise DataError(f"{path}: line 1 is no header: {error}") from error
    for name in columns:
        if header.count(name) != 1:
            many = "stands twice in the header" if name in header else "is missing"
            raise DataError(f"{path}: column {name!r} {many}; it has {short(header)}")
    return header


def _parsed(
    file: BinaryIO,
    path: Path,
    columns: Mapping[str, type],
    header: list[str],
    delimiter: str,
    encoding: str,
    quoted: bool,
) -> Any:
    """Arrow's table; DataError says what Arrow says, and where."""
    pa = arrow()
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}

    def parse(threads: bool) -> Any:
        file.seek(0)
        return pa.csv.read_csv(
            file,
            read_options=pa.csv.ReadOptions(encoding=encoding, use_threads=threads, block_size=2 * MAX_LINE),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: kinds[kind] for name, kind in columns.items()},
                include_columns=list(columns),
                null_values=[""],
            ),
        )

    try:
        return parse(threads=True)
    except pa.ArrowInvalid:
        pass
    try:
        return parse(threads=False)  # Arrow says the line only when it parses in order
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: {_explained(str(error), columns, header)}") from error


def _explained(reason: str, columns: Mapping[str, type], header: list[str]) -> str:
    """Arrow's message with the column's name, and "line" for its "Row", which counts the header as 1 too."""
    column, line = (re.search(pattern, reason) for pattern in (r"CSV column #(\d+)", r"Row #(\d+)"))
    where, said = (
        f"line {line[1]}: " if line else "",
        short(reason.rpartition(": Row #")[2].partition(": ")[2] or reason),
    )
    if not column:
        return f"{where}{said}"
    name = header[int(column[1])]
    return f"column {name!r}, {where}{said} — expected {columns[name].__name__}"


def short(value: object) -> str:
    """The value on one line, cut after a few words."""
    text = repr(str(value))[1:-1]  # a line end or a control character is written as its escape
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _to_numpy(path: Path, name: str, column: Any, kind: type) -> Array:
    if kind is str:
        return np.asarray(column.fill_null("").to_numpy(zero_copy_only=False), object)
    empty = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    if kind is float:
        values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
        require(path, name, empty | np.isfinite(values), "a finite number, or nothing", values)
        return values
    require(path, name, ~empty, "int, not an empty cell", np.full(len(empty), "empty"))
    return np.asarray(column.to_numpy(), np.int64)
