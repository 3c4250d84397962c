"""Delimited text files into NumPy columns, with errors that name file, column and what was expected."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from karec.errors import DataError, MissingExtra
from karec.types import Array

MISSING = "missing"


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
    """The named columns of a delimited file with a header line, in the file's order of rows.

    ``int`` gives int64 (an empty cell is an error), ``float`` float64 (an empty cell is NaN), ``str`` an object
    array of str (an empty cell is ``""``). Raises DataError for a missing or empty file, a missing column, or a cell
    of another type.
    """
    pa = arrow()
    _check_header(path, columns, delimiter, encoding, quoted)
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    try:
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(encoding=encoding),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: kinds[kind] for name, kind in columns.items()}, include_columns=list(columns)
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise _explained(path, columns, _header(path, delimiter, encoding, quoted), str(error)) from error
    if not table.num_rows:
        raise DataError(f"{path}: no rows below the header; expected at least one")
    return {name: _to_numpy(path, name, table[name], kind) for name, kind in columns.items()}


def require(path: Path, name: str, good: Array, expected: str, values: Array) -> None:
    """DataError naming file, column, row (first line below the header is row 1) and value of the first bad cell."""
    bad = np.flatnonzero(~good)
    if len(bad):
        at = int(bad[0])
        raise DataError(f"{path}: column {name!r}, row {at + 1}: {values[at]!s} — expected {expected}")


def categories(values: Array) -> tuple[Array, list[str]]:
    """(codes (N,) int32, names): the distinct texts, sorted, and the place of each value in them; "" is "missing"."""
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return codes.astype(np.int32), [str(name) or MISSING for name in names]


def _header(path: Path, delimiter: str, encoding: str, quoted: bool) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig" if encoding == "utf8" else encoding, newline="") as lines:
            cells = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
            return next(cells, [])
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as {encoding} text: {error}") from error


def _check_header(path: Path, columns: Mapping[str, type], delimiter: str, encoding: str, quoted: bool) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing; expected a delimited file with the columns {list(columns)}")
    found = _header(path, delimiter, encoding, quoted)
    if not found:
        raise DataError(f"{path} is empty; expected a header with the columns {list(columns)}")
    for name in columns:
        if name not in found:
            raise DataError(f"{path}: column {name!r} is missing; it has {found}")


def _explained(path: Path, columns: Mapping[str, type], header: list[str], reason: str) -> DataError:
    """Arrow's message with the column's name: Arrow gives its number, from 0."""
    where = ""
    if "CSV column #" in reason:
        at = reason.partition("CSV column #")[2].partition(":")[0]
        name = header[int(at)]
        where = f" column {name!r}: expected {columns[name].__name__ if name in columns else 'text'};"
    return DataError(f"{path}:{where} {reason}")


def _to_numpy(path: Path, name: str, column: Any, kind: type) -> Array:
    if kind is str:
        return np.asarray(column.fill_null("").to_numpy(zero_copy_only=False), object)
    if kind is float:
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(f"{path}: column {name!r}, row {row}: empty — expected int")
    return np.asarray(column.to_numpy(), np.int64)
