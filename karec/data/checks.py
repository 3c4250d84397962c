"""Checks the rows of a table. A row with a mistake is left out, for one reason, and its line is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from karec.data.columns import Column, find_column
from karec.data.contract import Contract
from karec.data.database import database_errors, quote_text
from karec.data.files import ROW, Mistake, Source
from karec.data.report import MAX_PLACES, Reason, TableReport
from karec.data.table_settings import Check
from karec.errors import DataError

REASON = "reason"  # column of a table of rows: the position of the row's first mistake, NULL for a good row
ERASED = "an id was erased after the row"
LONGEST_ID = 256  # bytes
MAX_EXACT = 2**53  # below it, float64 has every whole number
FIRST_ROWS = f"count(*), min({ROW}, {MAX_PLACES})"


@dataclass(frozen=True)
class CheckedRows:
    """A temp table of the rows of a source, with ROW and REASON."""

    source: Source
    name: str
    mistakes: tuple[Mistake, ...]

    def reasons(self) -> dict[str, Reason]:
        """Returns the reasons of rows and lines that cannot be used, the most frequent first."""
        database = self.source.database
        counts = database.rows(
            f"SELECT {REASON}, {FIRST_ROWS} FROM {self.name} WHERE {REASON} IS NOT NULL GROUP BY ALL"
        )
        places = self.source.places([row for _, _, rows in counts for row in rows])
        reasons = {
            self.mistakes[at][1]: Reason(count, tuple(places[row] for row in rows))
            for at, count, rows in sorted(counts)
        }
        with database_errors(self.source.files[0]):
            broken = self.source.broken_lines()
        for reason in dict.fromkeys(reason for _, reason in broken):
            lines = [place for place, other in broken if other == reason]
            reasons[reason] = Reason(len(lines), tuple(lines[:MAX_PLACES]))
        return dict(sorted(reasons.items(), key=lambda entry: (-entry[1].count, entry[0])))

    def report(self, name: str) -> TableReport:
        """Returns the report of the table. Raises DataError if no row can be kept."""
        bad = self.reasons()
        n_kept = self.source.database.count(self.name, f"{REASON} IS NULL")
        if not n_kept:
            reasons = "; ".join(f"{reason}: {rows}" for reason, rows in bad.items())
            reasons = reasons or "the files have no row below the header"
            raise DataError(f"{self.source.files[0]}: no row of {name} can be kept: {reasons}")
        rows = n_kept + sum(reason.count for reason in bad.values())
        left_out = {ERASED: bad.pop(ERASED)} if ERASED in bad else {}
        return TableReport(name, tuple(map(str, self.source.files)), rows, n_kept, bad, left_out)

    def drop(self) -> None:
        self.source.database.run(f"DROP TABLE {self.name}")


def check_rows(
    source: Source, name: str, cells: Mapping[str, str], mistakes: Sequence[Mistake]
) -> CheckedRows:
    """Creates the table ``name`` of the database with ``cells``, {column: SQL}.

    ``mistakes`` read the value of a cell as ``__COLUMN``.
    """
    all_mistakes = (*source.mistakes, *mistakes)
    cases = " ".join(f"WHEN {condition} THEN {at}" for at, (condition, _) in enumerate(all_mistakes))
    reason = f"(CASE {cases} END)::UTINYINT" if cases else "NULL::UTINYINT"
    values = ", ".join(f"{cell} AS __{column}" for column, cell in cells.items())
    columns = ", ".join(f"__{column} AS {column}" for column in cells)
    with database_errors(source.files[0]):
        source.database.run(
            f"CREATE TEMP TABLE {name} AS SELECT {columns}, {reason} AS {REASON}, {ROW} "
            f"FROM (SELECT *, {values} FROM {source.name})"
        )
    return CheckedRows(source, name, all_mistakes)


@dataclass(frozen=True)
class IdType:
    """The type of the ids of users, or of items: integer if all tables have integers, else text."""

    noun: str
    is_integer: bool

    @classmethod
    def from_columns(cls, noun: str, columns: Sequence[Column]) -> IdType:
        return cls(noun, all(column.kind == "integer" for column in columns))

    def value(self, column: Column) -> str:
        return column.as_integer if self.is_integer else column.as_text

    def mistakes(self, column: Column, value: str) -> list[Mistake]:
        """Returns the mistakes of a cell that is read as ``value``."""
        where = f"column {column.name!r}: the {self.noun}"
        if self.is_integer:
            wrong = (f"{value} IS NULL", f"{where} is not a 64-bit integer, as most of them are")
        else:
            wrong = (f"strlen({value}) > {LONGEST_ID}", f"{where} is longer than {LONGEST_ID} bytes")
        return [(f"{column.cell} IS NULL", f"{where} is missing"), wrong]


def number_mistakes(column: Column, minimum: float | None = None) -> list[Mistake]:
    where = f"column {column.name!r}"
    mistakes = [
        (f"{column.cell} IS NOT NULL AND {column.as_number} IS NULL", f"{where}: not a finite number")
    ]
    if minimum is not None:
        mistakes.append((f"{column.as_number} < {minimum}", f"{where}: a number below {minimum:g}"))
    return mistakes


def check_mistakes(source: Source, contract: Contract, key: str, time_unit: str = "") -> list[Mistake]:
    """Returns the mistakes that the checks of the source's table declare.

    key         of the table in data.toml
    time_unit   of times that are numbers
    """
    mistakes: list[Mistake] = []
    for check in source.table.checks:
        for name in check.columns:
            column = find_column(source, name, f"{key}.checks")
            if check.holds == "time" and time_unit:
                column = replace(column, unit=time_unit)
            if check.required:
                mistakes.append((f"{column.cell} IS NULL", f"column {name!r}: the cell is missing"))
            mistakes += (_text_mistakes if check.holds == "text" else _value_mistakes)(
                check, column, contract
            )
    return mistakes


def _text_mistakes(check: Check, column: Column, _: Contract) -> list[Mistake]:
    where, value = f"column {column.name!r}", column.as_text
    mistakes = [(f"regexp_matches({value}, '[\\x00-\\x1f\\x7f]')", f"{where}: a control character")]
    if check.matches is not None:
        has_other_form = f"NOT regexp_full_match({value}, {quote_text(check.matches)})"
        mistakes.append((has_other_form, f"{where}: not of the form {check.matches}"))
    return mistakes


def _value_mistakes(check: Check, column: Column, contract: Contract) -> list[Mistake]:
    where = f"column {column.name!r}"
    value = {"integer": column.as_integer, "time": column.as_time.as_ms}.get(check.holds, column.as_number)
    is_wrong = f"{value} IS NULL"
    if check.holds == "whole":
        is_wrong = f"coalesce({value} <> floor({value}) OR abs({value}) >= {MAX_EXACT}, true)"
    noun = {"integer": "an integer", "whole": "a whole number", "time": "a time"}.get(check.holds, "a number")
    mistakes = [(f"{column.cell} IS NOT NULL AND {is_wrong}", f"{where}: not {noun}")]
    if check.within is not None:
        minimum, maximum = (
            contract.to_ms(bound) if isinstance(bound, date) else bound for bound in check.within
        )
        outside = f"{where}: not within {check.within[0]} … {check.within[1]}"
        mistakes.append((f"{value} NOT BETWEEN {minimum!r} AND {maximum!r}", outside))
    return mistakes
