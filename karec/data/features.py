"""Makes columns of a snapshot from one column of items or users, by its content:

integer    a category if values repeat and there are few, else a number
number     a number; a category if its values are few and whole
text       a category; free text is rejected, since vectors of it are needed
boolean    a category
time       a time in a column that ends with _ms
list       of texts or integers: a category in each of up to three columns, NAME, NAME2, NAME3;
           of more numbers: a vector, of items only
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, MAX_VECTOR, PUBLISHED, SONG
from karec.data.columns import Column
from karec.data.database import quote_text
from karec.data.table_settings import Log
from karec.errors import DataError

MAX_CODES = 1000  # values of an integer column that is a category
MAX_WHOLE = 20  # values of a column of numbers that is a category
FREE_TEXT = 40  # characters, the mean of a column whose values hardly repeat
MAX_LISTED = 3  # values of a list that are kept
NUMBER = r"-?[0-9]+(\.[0-9]*)?"
NumberIds = Callable[[str, Any], NDArray[Any]]  # (role, a pyarrow.Array of ids) → their numbers


@dataclass(frozen=True)
class InputColumn:
    """A column of items or users, with its settings from data.toml.

    role            the snapshot's name of its role
    separator       of the values in a cell
    is_category     numbers are names
    unknown         cells that count as missing
    missing_name    the category of missing cells
    """

    column: Column
    role: str | None = None
    separator: str | None = None
    is_category: bool = False
    unknown: tuple[str, ...] = ()
    missing_name: str | None = None

    @property
    def name(self) -> str:
        return self.role or self.column.name

    @property
    def is_number(self) -> bool:
        has_number = self.column.kind in ("integer", "number")
        return has_number and self.role is None and self.separator is None and not self.is_category

    @property
    def is_time(self) -> bool:
        return self.role == PUBLISHED or (
            self.column.kind == "time"
            and self.role is None
            and self.separator is None
            and not self.is_category
        )

    @property
    def cell(self) -> str:
        """SQL that reads the value."""
        if not self.unknown:
            return self._value
        unknown_cells = ", ".join(map(quote_text, self.unknown))
        return f"CASE WHEN {self.column.as_text} NOT IN ({unknown_cells}) THEN {self._value} END"

    @property
    def is_odd(self) -> str | None:
        """SQL condition: the cell is not what the column holds. None: every cell is."""
        if not self.is_number and not self.is_time:
            return None
        return f"{self.column.cell} IS NOT NULL AND {self._value} IS NULL"

    @property
    def _value(self) -> str:
        column = self.column
        if self.is_time:
            return (column.as_time if self.role == PUBLISHED else column).as_ms
        if self.role in (CREATOR, SONG):
            return column.as_id
        if self.separator is not None:
            return f"string_split({column.as_text}, {quote_text(self.separator)})"
        if column.kind == "list" and column.is_typed:
            return column.cell
        if self.is_number:
            return column.as_integer if column.kind == "integer" else column.as_number
        return column.as_text


@dataclass(frozen=True)
class SnapshotColumns:
    """Snapshot columns made from one input column.

    use          their use, for the report
    names        names of category codes by column
    rare_names   names in one row only, often typing errors
    """

    columns: dict[str, NDArray[Any]]
    use: str
    names: dict[str, list[str]] = field(default_factory=dict)
    rare_names: tuple[str, ...] = ()


def make_columns(source: InputColumn, values: Any, number_ids: NumberIds) -> SnapshotColumns:
    """Returns the columns for ``values``, a pyarrow.Array of ``source.cell``.

    ``number_ids`` maps creators and songs. Raises DataError, without the file's name, for free
    text and for vectors of different lengths.
    """
    name, column = source.name, source.column
    if source.is_time:
        name = name if name.endswith("_ms") else f"{name}_ms"
        ms = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return SnapshotColumns({name: ms}, f"moment {name}")
    if source.role in (CREATOR, SONG):
        return SnapshotColumns({name: _ids(name, values, number_ids)}, f"ids {name}")
    if source.separator is not None or column.kind == "list":
        return _list_columns(source, values)
    if source.is_number:
        if _is_quantity(column, values):
            numbers = values.cast("double").to_numpy(zero_copy_only=False).astype(np.float32)
            return SnapshotColumns({name: numbers}, "number")
        values = values.cast("int64").cast("string")
    codes, names = _encode(values, source.missing_name)
    if not source.is_category and source.role is None and column.kind == "text":
        _reject_free_text(column.name, values, len(names))
    rare_names = _rare_names(codes, names) if column.kind == "text" else ()
    return SnapshotColumns({name: codes}, f"category of {len(names):,} values", {name: names}, rare_names)


def log_columns(name: str, log: Log, numbers: Mapping[str, NDArray[Any]]) -> SnapshotColumns:
    """Returns the feature of ``log``. ``numbers``: (R,) float64 of its columns, NaN if a cell is missing."""
    values = [numbers[column] for column in log.columns]
    if log.missing is not None:
        values = [np.where(np.isnan(column), log.missing, column) for column in values]
    if log.over is None:
        feature = np.log1p(values[0] / log.unit)
    else:
        feature = np.log((values[0] + 1.0) / (values[1] + 1.0))
    return SnapshotColumns({name: feature.astype(np.float32)}, f"number {name}")


def vector_columns(name: str, vectors: NDArray[Any]) -> SnapshotColumns:
    """Returns a column (R, D) float32 of vectors; one with a number that is not finite becomes zeros.

    Raises DataError, without the file's name, for more than MAX_VECTOR numbers.
    """
    width = vectors.shape[1]
    if width > MAX_VECTOR:
        raise DataError(f"vectors {name!r} have {width:,} numbers, expected at most {MAX_VECTOR:,}")
    vectors = np.array(vectors, np.float32, order="C")
    is_missing = ~np.isfinite(vectors).all(axis=1)
    vectors[is_missing] = 0.0
    return SnapshotColumns({name: vectors}, f"vector of {width}, missing in {is_missing.mean():.1%} of rows")


def _ids(role: str, values: Any, number_ids: NumberIds) -> NDArray[Any]:
    """Returns the numbers of ids, −1 for a missing one."""
    numbers = np.full(len(values), -1, np.int64)
    ids = values.drop_null()
    if len(ids):
        numbers[np.asarray(values.is_valid())] = number_ids(role, ids)
    return numbers


def _encode(values: Any, missing_name: str | None = None) -> tuple[NDArray[Any], list[str]]:
    """Returns (N,) int32 codes in the order of the names, and the names. A missing value has the code −1.

    With ``missing_name``, missing values are the first category.
    """
    if missing_name is not None and values.null_count:
        codes, known_names = _encode(values)
        return codes + 1, [missing_name, *known_names]
    dictionary = values.dictionary_encode()
    names = np.array(dictionary.dictionary.to_pylist(), object)
    order = np.argsort(names.astype(str), kind="stable")
    code = np.full(len(names) + 1, -1, np.int32)
    code[order] = np.arange(len(names), dtype=np.int32)
    indices = dictionary.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return code[indices], [str(name) for name in names[order]]


def _rare_names(codes: NDArray[Any], names: list[str]) -> tuple[str, ...]:
    """Returns the names of one row each; none if most names are numbers."""
    if sum(bool(re.fullmatch(NUMBER, name)) for name in names) > len(names) / 2:
        return ()
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return tuple(names[at] for at in np.flatnonzero(counts == 1))


def _is_quantity(column: Column, values: Any) -> bool:
    """Returns True for many integers or integers that hardly repeat, and for numbers not few and whole."""
    distinct = values.unique().drop_null()
    if column.kind == "number":
        numbers = distinct.to_numpy(zero_copy_only=False)
        return len(numbers) > MAX_WHOLE or len(numbers) == 0 or bool((numbers != np.round(numbers)).any())
    return len(distinct) > MAX_CODES or len(distinct) > max(len(values) // 4, MAX_WHOLE)


def _reject_free_text(name: str, values: Any, n_names: int) -> None:
    n_cells = len(values) - values.null_count
    length = np.mean([len(text) for text in values.drop_null()[:1000].to_pylist()] or [0])
    if n_cells > 100 and n_names > 0.5 * n_cells and length > FREE_TEXT:
        raise DataError(
            f"column {name!r} is free text ({n_names:,} values of {length:.0f} characters in {n_cells:,} "
            "rows): add it to ignore, and bring vectors made of it as roles.vector"
        )


def _list_columns(source: InputColumn, values: Any) -> SnapshotColumns:
    import pyarrow

    name = source.name
    rows: Sequence[list[Any]] = [_parse_list(value) for value in values.to_pylist()]
    first: list[Any] = next((row for row in rows if row), [])
    if len(first) > MAX_LISTED and all(type(value) in (int, float) for value in first):
        for at, row in enumerate(rows, 1):
            if len(row) not in (0, len(first)):
                raise DataError(
                    f"column {source.column.name!r}, row {at}: {len(row)} numbers, others have {len(first)}: "
                    "vectors have one length, or are missing"
                )
        return vector_columns(name, np.array([row or [np.nan] * len(first) for row in rows], np.float32))
    longest = max((len(row) for row in rows), default=0)
    wide_rows = [[*map(str, row[:MAX_LISTED])] + [None] * (MAX_LISTED - len(row)) for row in rows]
    flat = pyarrow.array([value for row in wide_rows for value in row], pyarrow.string())
    codes, names = _encode(flat, source.missing_name)
    codes = codes.reshape(-1, MAX_LISTED)
    columns = {
        f"{name}{at + 1 if at else ''}": np.ascontiguousarray(codes[:, at])
        for at in range(min(max(longest, 1), MAX_LISTED))
    }
    note = f", the first {MAX_LISTED} of up to {longest} a row" if longest > MAX_LISTED else ""
    use = f"categories {', '.join(columns)} of {len(names):,} values{note}"
    return SnapshotColumns(columns, use, dict.fromkeys(columns, names))


def _parse_list(value: Any) -> list[Any]:
    """Returns a list of the file, or one written as JSON. It is empty if the cell is missing or no list."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    entries = value if isinstance(value, list) else []
    values = (entry.strip() if isinstance(entry, str) else entry for entry in entries)
    return [entry for entry in values if entry is not None and entry != ""]
