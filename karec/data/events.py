"""The log, row by row: each is kept, or left out for a reason that is counted with the first lines that have
it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from karec.data.checks import check_mistakes, id_column, said_column
from karec.data.contract import Contract, Label
from karec.data.database import Database, database_errors, quote_text
from karec.data.files import FILE_NUMBER, OFFSET, ROW, Source
from karec.data.kinds import EARLIEST_MS, LATEST_MS, Column, column_of
from karec.data.reasons import WHY, Mistake, nothing_kept, reasons, why_of
from karec.data.report import ColumnReport, TableReport, moment
from karec.errors import DataError
from karec.times import DAY_MS

LONGEST_ID = 256  # bytes
TEXTS = ("event", "request", "scene")


@dataclass(frozen=True)
class IdKind:
    """How the ids of users, or of items, are kept: as integers, or as texts. ``what`` is "user" or "item"."""

    what: str
    integers: bool

    def value(self, column: Column) -> str:
        return column.as_integer if self.integers else column.as_text

    def mistakes(self, column: Column, value: str) -> list[Mistake]:
        """Of a cell that cannot be an id; ``value`` is what it was read as."""
        named = f"column {column.name!r}"
        found = [(f"{column.cell} IS NULL", f"{named}: the {self.what} is missing")]
        if self.integers:
            wrong = f"{named}: the {self.what} is no 64-bit integer, as most of them are"
            found.append((f"{value} IS NULL", wrong))
        else:
            too_long = f"{named}: the {self.what} is longer than {LONGEST_ID} bytes"
            found.append((f"strlen({value}) > {LONGEST_ID}", too_long))
        return found


def id_kind(what: str, columns: list[Column]) -> IdKind:
    """Integers where every table says so."""
    return IdKind(what, all(column.kind == "integer" for column in columns))


@dataclass(frozen=True)
class _Cells:
    """Of the log: {name in ``cleaned``: SQL}, mistakes, in which a name's value is ``__NAME``, and what is
    told of each column that the contract names.
    """

    cells: dict[str, str]
    mistakes: list[Mistake]
    told: list[tuple[Column, str, str]]  # column, what it becomes, the name of its cell


def read_events(
    database: Database, source: Source, contract: Contract, users: IdKind, items: IdKind, now_ms: int
) -> TableReport:
    """Makes the table ``cleaned`` of the database: u, i, t and what else the contract names of the log, good
    rows only.

    Raises DataError for a column that the log does not have, and where nothing is kept.
    """
    of_log = _cells(database, source, contract, users, items, now_ms)
    with database_errors(source.files[0]):
        values = ", ".join(f"{cell} AS __{name}" for name, cell in of_log.cells.items())
        listed = ", ".join(f"__{name} AS {name}" for name in of_log.cells)
        database.run(
            f"CREATE TEMP TABLE read AS SELECT {listed}, {why_of(of_log.mistakes)} AS {WHY}, {ROW}, "
            f"{FILE_NUMBER} FROM (SELECT *, {values} FROM {source.name})"
        )
    bad = reasons(database, source, "read", of_log.mistakes)
    kept = database.count("read", f"{WHY} IS NULL")
    if not kept:
        raise DataError(nothing_kept("events", source, bad))
    rows = kept + sum(reason.count for reason in bad.values())
    columns = _described(database, of_log)
    used = {column.name for column, _, _ in of_log.told}
    columns += [ColumnReport(name, "", "not used") for name in source.columns if name not in used]
    database.run(
        f"CREATE TEMP VIEW cleaned AS SELECT {', '.join(of_log.cells)} FROM read WHERE {WHY} IS NULL"
    )
    return TableReport("events", tuple(map(str, source.files)), rows, kept, bad, {}, tuple(columns))


def _cells(
    database: Database, source: Source, contract: Contract, users: IdKind, items: IdKind, now_ms: int
) -> _Cells:
    checks = contract.events.checks
    columns = {
        role: (id_column if role in ("user", "item") else said_column)(database, source, name, checks)
        for role, name in vars(contract.events.columns).items()
        if name is not None and source.column(name, f"events.columns.{role}")
    }
    cells = {"u": users.value(columns["user"]), "i": items.value(columns["item"])}
    mistakes = users.mistakes(columns["user"], "__u") + items.mistakes(columns["item"], "__i")
    unit = "" if contract.events.time_unit == "auto" else contract.events.time_unit
    if "time" in columns:
        if unit:
            columns["time"] = replace(columns["time"], unit=unit)
        time = columns["time"] = columns["time"].as_time
        cells["t"] = time.as_ms
        mistakes += _of_time(time, now_ms)
    else:
        cells["t"] = "0::BIGINT"  # moments are made up later (``timeless.py``)
    if contract.events.repeats == "first":
        cells["place"] = f"{FILE_NUMBER}::BIGINT * {OFFSET} + {ROW}"
    mistakes += check_mistakes(database, source, checks, "events", ZoneInfo(contract.zone), unit)
    named = {"user": "u", "item": "i", "time": "t"}
    for role in TEXTS:
        if role in columns:
            cells[role] = columns[role].as_text
    if contract.events.scenes:
        known = ", ".join(map(quote_text, contract.events.scenes))
        none = f"column {columns['scene'].name!r}: none of events.scenes"
        mistakes.append((f"coalesce(__scene, '') NOT IN ({known})", none))
    if "day" in columns:
        cells["day"] = f"TRY_STRPTIME({columns['day'].as_text}, ['%Y%m%d', '%Y-%m-%d'])::DATE"
        late = "__day - to_timestamp(__t / 1000)::DATE"
        not_then = f"column {columns['day'].name!r}: not the day of the time in {contract.zone}, nor the next"
        mistakes.append((f"coalesce({late} NOT IN (0, 1), true)", not_then))
    if "value" in columns:
        cells["value"] = columns["value"].as_number
        mistakes += number_mistakes(columns["value"])
    if "play_ms" in columns:
        cells["play_ms"] = f"TRY_CAST({columns['play_ms'].as_number} AS BIGINT)"
        mistakes += number_mistakes(columns["play_ms"], least=0)
    told_of = [(column, role, named.get(role, role)) for role, column in columns.items()]
    for at, (name, label) in enumerate(contract.labels.items()):
        if label.column is not None:
            source.column(label.column, f"labels.{name}.column")
            column = said_column(database, source, label.column, checks)
            cells[f"l{at}"], wrong = _label(database, source, name, label, column)
            mistakes += wrong
            told_of.append((column, f"label {name}", f"l{at}"))
    return _Cells(cells, mistakes, told_of)


def _of_time(time: Column, now_ms: int) -> list[Mistake]:
    latest, named = min(now_ms + DAY_MS, LATEST_MS), f"column {time.name!r}"
    return [
        (f"{time.cell} IS NULL", f"{named}: the time is missing"),
        ("__t IS NULL", f"{named}: no time: a number of s, ms, us or ns since 1970, or ISO 8601, is wanted"),
        (f"__t < {EARLIEST_MS}", f"{named}: the time is before the year 2000: say events.time_unit"),
        (f"__t > {latest}", f"{named}: the time lies in the future"),
    ]


def number_mistakes(column: Column, least: float | None = None) -> list[Mistake]:
    """Of a cell that is not missing, and no finite number, or one below ``least``."""
    named = f"column {column.name!r}"
    found = [(f"{column.cell} IS NOT NULL AND {column.as_number} IS NULL", f"{named}: no finite number")]
    if least is not None:
        found.append((f"{column.as_number} < {least}", f"{named}: a number below {least:g}"))
    return found


def _label(
    database: Database, source: Source, name: str, label: Label, column: Column
) -> tuple[str, list[Mistake]]:
    """(0 or 1 in SQL, mistakes). A cell that is missing says 0."""
    if label.equals is not None:
        return f"coalesce({column.as_text} = {quote_text(label.equals)}, false)::UTINYINT", []
    wrong = number_mistakes(column)
    if label.at_least_share_of is not None:
        source.column(label.at_least_share_of, f"labels.{name}.at_least_share_of")
        whole = column_of(database, source, label.at_least_share_of)
        wrong += number_mistakes(whole)
        condition = f"{whole.as_number} > 0 AND {column.as_number} >= {label.share!r} * {whole.as_number}"
    elif label.at_least is not None:
        condition = f"{column.as_number} >= {label.at_least!r}"
    else:
        condition = f"{column.as_number} <> 0"
    return f"coalesce({condition}, false)::UTINYINT", wrong


def _described(database: Database, of_log: _Cells) -> list[ColumnReport]:
    parts = [
        f"avg(({name} IS NULL)::INTEGER), " + ("min(t), max(t)" if name == "t" else "NULL, NULL")
        for _, _, name in of_log.told
    ]
    found = database.rows(f"SELECT {', '.join(parts)} FROM read")[0]
    reports = []
    for at, (column, becomes, _) in enumerate(of_log.told):
        missing, least, most = found[3 * at : 3 * at + 3]
        kind = f"{column.kind} ({column.unit})" if becomes == "time" and column.unit else column.kind
        span = ("", "") if least is None else (moment(least), moment(most))
        reports.append(ColumnReport(column.name, kind, becomes, float(missing or 0), *span))
    return reports
