"""What a column holds, told by its first rows, and the SQL that reads a cell as that. A cell that is
something else is NULL there; whether that is a mistake is for the reader of the column to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from karec.data.database import Database, database_errors, quote_name
from karec.data.files import LOOKED_AT, Source

Kind = Literal["integer", "number", "time", "boolean", "list", "text"]
MOST = 0.95  # of the cells that are not missing must be of a kind
INTEGER = r"^-?(0|[1-9][0-9]{0,18})$"
UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
EARLIEST_MS, LATEST_MS = 946_684_800_000, 4_102_444_800_000  # 2000 … 2100


@dataclass(frozen=True)
class Column:
    """``kind`` of a column; ``unit`` of a time that is a number. ``typed``: the file says the kind, not its
    cells."""

    name: str
    kind: Kind
    typed: bool
    unit: str = ""

    @property
    def cell(self) -> str:
        """The cell, NULL where it is missing."""
        cell = quote_name(self.name)
        if self.typed and self.kind == "number":
            # isnan says no wherever the statistics of a Parquet file, which pass NaN over, say no
            return f"CASE WHEN isfinite({cell}::DOUBLE) OR isinf({cell}::DOUBLE) THEN {cell} END"
        return cell

    @property
    def as_text(self) -> str:
        return f"({self.cell})::VARCHAR"

    @property
    def as_integer(self) -> str:
        if self.typed:
            return f"TRY_CAST({quote_name(self.name)} AS BIGINT)"
        return f"CASE WHEN regexp_matches({self.cell}, '{INTEGER}') THEN TRY_CAST({self.cell} AS BIGINT) END"

    @property
    def as_number(self) -> str:
        """float64, finite."""
        number = f"TRY_CAST({self.cell} AS DOUBLE)"
        if self.kind == "boolean":
            number = f"TRY_CAST(TRY_CAST({self.cell} AS BOOLEAN) AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    @property
    def as_time(self) -> Column:
        """The column read as moments: a number whose unit its values do not tell is one of seconds."""
        return replace(self, unit="s") if self.kind in ("integer", "number") and not self.unit else self

    @property
    def as_ms(self) -> str:
        """Unix milliseconds, BIGINT; of a number in ``unit``, of a text without a zone in UTC."""
        if self.unit:
            return f"TRY_CAST(round({self.as_number} * {UNITS[self.unit]!r}) AS BIGINT)"
        if self.typed and self.kind != "time":
            return "NULL::BIGINT"
        return f"epoch_ms(TRY_CAST({self.cell} AS TIMESTAMPTZ))"


def column_of(database: Database, source: Source, name: str) -> Column:
    """What the first LOOKED_AT rows of a column say."""
    typed = kind_of_type(source.types[name])
    with database_errors(source.files[0]):
        column = Column(name, typed or _kind_of_cells(database, source, name), typed is not None)
        return replace(column, unit=_unit(database, source, column))


def kind_of_type(name: str) -> Kind | None:
    if name.endswith("]"):
        return "list"
    kinds: dict[str, Kind] = {"BOOLEAN": "boolean", "DATE": "time"}
    kinds |= dict.fromkeys(("DOUBLE", "FLOAT"), "number")
    kinds |= dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "integer")
    kinds |= dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "integer")
    if name.startswith("DECIMAL"):
        return "number"
    return "time" if name.startswith("TIMESTAMP") else kinds.get(name)


def _kind_of_cells(database: Database, source: Source, name: str) -> Kind:
    cell = Column(name, "text", False).cell
    there, integers, numbers, times, booleans, lists = database.rows(
        f"SELECT count(c), count(*) FILTER (regexp_matches(c, '{INTEGER}')), count(TRY_CAST(c AS DOUBLE)), "
        "count(CASE WHEN c LIKE '%-%' THEN TRY_CAST(c AS TIMESTAMPTZ) END), "
        "count(*) FILTER (lower(c) IN ('true', 'false')), count(*) FILTER (c LIKE '[%]') "
        f"FROM (SELECT {cell} AS c FROM {source.name} LIMIT {LOOKED_AT})"
    )[0]
    found: dict[Kind, int] = {
        "integer": integers, "number": numbers, "time": times, "boolean": booleans, "list": lists
    }  # fmt: skip
    return next((kind for kind, count in found.items() if there and count >= MOST * there), "text")


def _unit(database: Database, source: Source, column: Column) -> str:
    """The unit in which most numbers of the column are moments of 2000 … 2100; "" for a column of another
    kind."""
    if column.kind not in ("integer", "number"):
        return ""
    counts = ", ".join(
        f"count(*) FILTER (n * {factor!r} BETWEEN {EARLIEST_MS} AND {LATEST_MS})" for factor in UNITS.values()
    )
    numbers = f"SELECT {column.as_number} AS n FROM {source.name} LIMIT {LOOKED_AT}"
    found = database.rows(f"SELECT {counts} FROM ({numbers})")[0]
    best = max(zip(found, UNITS, strict=True), key=lambda each: each[0])
    return best[1] if best[0] else ""
