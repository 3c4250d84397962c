"""The content of a column, from its first rows or a check, and SQL that reads its cells.

A cell with another content is NULL in SQL. The reader of the column decides if that is a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from karec.data.database import database_errors, quote_name, quote_text
from karec.data.files import SAMPLE, Source

Kind = Literal["integer", "number", "time", "boolean", "list", "text"]
MIN_FRACTION = 0.95  # of the cells that are not missing must be of a kind
INTEGER = r"^-?(0|[1-9][0-9]{0,18})$"
COMMA_NUMBER = r"^-?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?$"
UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
EARLIEST_MS, LATEST_MS = 315_532_800_000, 4_102_444_800_000  # 1980 to 2100
TIME_FORMATS = tuple(  # of strptime: times that are not ISO 8601
    f"{day}{time}"
    for day in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d")
    for time in ("", " %H:%M", " %H:%M:%S")
)
_KIND_OF_CHECK: dict[str, Kind] = {
    "integer": "integer",
    "whole": "number",
    "number": "number",
    "text": "text",
}


@dataclass(frozen=True)
class Column:
    """A column of a source.

    is_typed   the file has the kind, not only its cells
    unit       of a time that is a number, else ""
    format     of strptime, of a time that is a text and not ISO 8601, else ""
    has_comma  a number with a decimal comma, such as 1.234,50
    """

    name: str
    kind: Kind
    is_typed: bool
    unit: str = ""
    format: str = ""
    has_comma: bool = False

    @property
    def cell(self) -> str:
        """The cell, NULL if it is missing."""
        cell = quote_name(self.name)
        is_float = self.is_typed and self.kind == "number"
        return f"CASE WHEN NOT isnan({cell}::DOUBLE) THEN {cell} END" if is_float else cell

    @property
    def as_text(self) -> str:
        return f"({self.cell})::VARCHAR"

    @property
    def as_integer(self) -> str:
        cell = quote_name(self.name)
        if self.is_typed:
            return f"TRY_CAST({cell} AS BIGINT)"
        return f"CASE WHEN regexp_matches({cell}, '{INTEGER}') THEN TRY_CAST({cell} AS BIGINT) END"

    @property
    def as_number(self) -> str:
        """A finite float64."""
        number = f"TRY_CAST({self.cell} AS DOUBLE)"
        if self.kind == "boolean":
            number = f"TRY_CAST(TRY_CAST({self.cell} AS BOOLEAN) AS DOUBLE)"
        if self.has_comma:
            is_number = f"regexp_matches({self.cell}, '{COMMA_NUMBER}')"
            point = f"replace(replace({self.cell}, '.', ''), ',', '.')"
            number = f"CASE WHEN {is_number} THEN TRY_CAST({point} AS DOUBLE) END"
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    @property
    def as_time(self) -> Column:
        """The column as moments: numbers without a unit are seconds."""
        return replace(self, unit="s") if self.kind in ("integer", "number") and not self.unit else self

    @property
    def as_ms(self) -> str:
        """Unix milliseconds. Text without a zone is in the zone of the database."""
        if self.unit:
            return f"TRY_CAST(round({self.as_number} * {UNITS[self.unit]!r}) AS BIGINT)"
        if self.is_typed and self.kind != "time":
            return "NULL::BIGINT"
        if self.format:
            return f"epoch_ms(TRY_STRPTIME({self.as_text}, {quote_text(self.format)})::TIMESTAMPTZ)"
        return f"epoch_ms(TRY_CAST({self.cell} AS TIMESTAMPTZ))"

    @property
    def as_id(self) -> str:
        """An integer if the column holds integers, else text."""
        return self.as_integer if self.kind == "integer" else self.as_text


def find_column(source: Source, name: str, key: str) -> Column:
    """Returns the column as a check of its table declares it, else as its first rows show it.

    Raises DataError if the files lack the column; ``key`` of data.toml names it.
    """
    source.require(name, key)
    check = source.table.check_of(name)
    kind = None if check is None else _KIND_OF_CHECK.get(check.holds)
    is_typed = _kind_of_type(source.types[name]) is not None
    return infer_column(source, name) if kind is None or is_typed else Column(name, kind, is_typed=False)


def find_id_column(source: Source, name: str, key: str) -> Column:
    """Returns a column of ids. Ids come back as they are in the file, so texts stay texts."""
    column = find_column(source, name, key)
    is_text = name in source.texts and source.table.check_of(name) is None
    return replace(column, kind="text", unit="") if is_text else column


def infer_column(source: Source, name: str) -> Column:
    """Returns the column as its first SAMPLE rows show it."""
    typed = _kind_of_type(source.types[name])
    with database_errors(source.files[0]):
        column = Column(name, typed or _kind_of_cells(source, name), typed is not None)
        formats = find_time_formats(source, column)
        if len(formats) == 1:
            column = replace(column, kind="time", format=formats[0])
        elif _has_decimal_comma(source, column):
            column = replace(column, kind="number", has_comma=True)
        return replace(column, unit=_infer_unit(source, column))


def find_time_formats(source: Source, column: Column) -> list[str]:
    """Returns the TIME_FORMATS that most cells of a text column have.

    There are two if no cell shows whether the day or the month comes first.
    """
    if column.is_typed or column.kind != "text":
        return []
    counts = ", ".join(f"count(TRY_STRPTIME(c, {quote_text(format)}))" for format in TIME_FORMATS)
    cells = f"SELECT {quote_name(column.name)} AS c FROM {source.name} LIMIT {SAMPLE}"
    n_cells, *n_times = source.database.rows(f"SELECT count(c), {counts} FROM ({cells})")[0]
    best = max(n_times)
    return [
        format
        for format, n in zip(TIME_FORMATS, n_times, strict=True)
        if n == best and n_cells and n >= MIN_FRACTION * n_cells
    ]


def _has_decimal_comma(source: Source, column: Column) -> bool:
    """Returns True for texts that are numbers, most of them with a comma.

    With fewer commas, cells are lists of integers. With three digits after each comma, it marks thousands.
    """
    if column.is_typed or column.kind != "text":
        return False
    cells = f"SELECT {quote_name(column.name)} AS c FROM {source.name} LIMIT {SAMPLE}"
    n_cells, n_numbers, n_commas, n_thousands = source.database.rows(
        f"SELECT count(c), count(*) FILTER (regexp_matches(c, '{COMMA_NUMBER}')), "
        "count(*) FILTER (contains(c, ',')), count(*) FILTER (regexp_matches(c, ',[0-9]{3}$')) "
        f"FROM ({cells})"
    )[0]
    is_number = n_numbers >= MIN_FRACTION * n_cells
    return bool(n_commas and is_number and n_commas > 0.5 * n_cells and n_thousands < n_commas)


def _kind_of_type(name: str) -> Kind | None:
    """Returns the kind of a type of DuckDB. None: the cells have to show it."""
    if name.endswith("]"):
        return "list"
    if name == "DATE" or name.startswith("TIMESTAMP"):
        return "time"
    if name in ("DOUBLE", "FLOAT") or name.startswith("DECIMAL"):
        return "number"
    if name == "BOOLEAN":
        return "boolean"
    return "integer" if name.endswith(("INT", "INTEGER")) else None


def _kind_of_cells(source: Source, name: str) -> Kind:
    n_cells, *counts = source.database.rows(
        f"SELECT count(c), count(*) FILTER (regexp_matches(c, '{INTEGER}')), count(TRY_CAST(c AS DOUBLE)), "
        "count(CASE WHEN c LIKE '%-%' THEN TRY_CAST(c AS TIMESTAMPTZ) END), "
        "count(*) FILTER (lower(c) IN ('true', 'false')), count(*) FILTER (c LIKE '[%]') "
        f"FROM (SELECT {quote_name(name)} AS c FROM {source.name} LIMIT {SAMPLE})"
    )[0]
    kinds: tuple[Kind, ...] = ("integer", "number", "time", "boolean", "list")
    enough = (kind for kind, n in zip(kinds, counts, strict=True) if n_cells and n >= MIN_FRACTION * n_cells)
    return next(enough, "text")


def _infer_unit(source: Source, column: Column) -> str:
    """Returns the unit in which most numbers are moments from 1980 to 2100; "" if no number is."""
    if column.kind not in ("integer", "number"):
        return ""
    counts = ", ".join(
        f"count(*) FILTER (n * {factor!r} BETWEEN {EARLIEST_MS} AND {LATEST_MS})" for factor in UNITS.values()
    )
    numbers = f"SELECT {column.as_number} AS n FROM {source.name} LIMIT {SAMPLE}"
    n_moments = dict(zip(UNITS, source.database.rows(f"SELECT {counts} FROM ({numbers})")[0], strict=True))
    best = max(UNITS, key=n_moments.__getitem__)
    return best if n_moments[best] else ""
