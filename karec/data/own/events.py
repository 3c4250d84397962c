"""The log, row by row: each is kept, or left out for a reason that is counted with the first lines that have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from karec.data.own.contract import Contract, Label
from karec.data.own.database import Database, told
from karec.data.own.files import FILE_NUMBER, LINE, Source, text
from karec.data.own.kinds import EARLIEST_MS, LATEST_MS, Column, column_of
from karec.data.own.report import SHOWN_LINES, ColumnReport, Reason, TableReport
from karec.errors import DataError

LONGEST_ID = 256  # bytes
DAY_MS = 86_400_000


@dataclass(frozen=True)
class IdKind:
    """How the ids of users, or of items, are kept: as integers, or as texts. ``what`` is "user" or "item"."""

    what: str
    integers: bool

    def value(self, column: Column) -> str:
        return column.as_integer if self.integers else column.as_text

    def mistakes(self, column: Column) -> list[tuple[str, str]]:
        """(condition, why) in SQL and in words, of a cell that cannot be an id."""
        found = [(f"{column.cell} IS NULL", f"{self.what} is missing")]
        if self.integers:
            found.append((f"{column.as_integer} IS NULL", f"{self.what} is no integer, as most ids of it are"))
        else:
            found.append((f"strlen({column.as_text}) > {LONGEST_ID}", f"{self.what} is longer than {LONGEST_ID} bytes"))
        return found


def id_kind(what: str, columns: list[Column]) -> IdKind:
    """Integers where every table says so."""
    return IdKind(what, all(column.kind == "integer" for column in columns))


def read_events(
    database: Database, source: Source, contract: Contract, users: IdKind, items: IdKind, now_ms: int
) -> TableReport:
    """Makes the table ``cleaned`` of the database: u, i, t and what else the contract names of the log, good rows only.

    Raises DataError for a column that the log does not have, and where nothing is kept.
    """
    names = contract.events.columns
    columns = {
        role: column_of(database, source, name)
        for role, name in vars(names).items()
        if name is not None and source.column(name, f"events.columns.{role}")
    }
    if contract.events.time_unit != "auto":
        columns["time"] = replace(columns["time"], unit=contract.events.time_unit)
    cells = {"u": users.value(columns["user"]), "i": items.value(columns["item"]), "t": columns["time"].as_ms}
    mistakes = users.mistakes(columns["user"]) + items.mistakes(columns["item"]) + _of_time(columns["time"], now_ms)
    for role in ("event", "request", "scene"):
        if role in columns:
            cells[role] = columns[role].as_text
    if "play_ms" in columns:
        cells["play_ms"] = f"TRY_CAST({columns['play_ms'].as_number} AS BIGINT)"
        mistakes += _of_number(columns["play_ms"], "play_ms", least=0)
    for at, label in enumerate(contract.labels.values()):
        if label.column is not None:
            cells[f"l{at}"], wrong = _label(database, source, label)
            mistakes += wrong
    why = "CASE " + " ".join(f"WHEN {condition} THEN {text(reason)}" for condition, reason in mistakes) + " END"
    with told(source.files[0]):
        database.run(
            f"CREATE TABLE read AS SELECT {', '.join(f'{cell} AS {name}' for name, cell in cells.items())}, "
            f"{why} AS why, {LINE}, {FILE_NUMBER} FROM {source.name}"
        )
        bad = reasons(database, source, "read")
        database.run(f"CREATE TABLE cleaned AS SELECT {', '.join(cells)} FROM read WHERE why IS NULL")
        database.run("DROP TABLE read")
    kept = database.count("cleaned")
    rows = kept + sum(reason.count for reason in bad.values())
    if not kept:
        raise DataError(nothing_kept("events", source, bad))
    return TableReport("events", tuple(map(str, source.files)), rows, kept, bad, {}, _described(columns))


def nothing_kept(what: str, source: Source, bad: Mapping[str, Reason]) -> str:
    told_of = "; ".join(f"{why}: {reason}" for why, reason in bad.items()) or "the files hold no row below the header"
    return f"{source.files[0]}: nothing of {what} can be kept: {told_of}"


def reasons(database: Database, source: Source, table: str) -> dict[str, Reason]:
    """Rows of ``table`` by their column why, and lines that could not be read, most frequent first."""
    broken = source.broken(database)
    found: dict[str, list[tuple[int, int]]] = {}
    counts: dict[str, int] = {}
    for number, line, why in broken:
        counts[why] = counts.get(why, 0) + 1
        found.setdefault(why, []).append((number, line))
    rows = database.rows(
        f"SELECT why, count(*), list({{'f': {FILE_NUMBER}, 'l': {LINE}}} ORDER BY {FILE_NUMBER}, {LINE})[:{SHOWN_LINES}] "
        f"FROM {table} WHERE why IS NOT NULL GROUP BY why ORDER BY why"
    )
    for why, count, places in rows:
        counts[why] = counts.get(why, 0) + count
        shifted = [(place["f"], _line(place["l"], place["f"], broken)) for place in places]
        found[why] = sorted([*found.get(why, []), *shifted])
    ordered = sorted(counts, key=lambda why: (-counts[why], why))
    return {
        why: Reason(counts[why], tuple(f"{source.files[f].name}:{line}" for f, line in found[why][:SHOWN_LINES]))
        for why in ordered
    }


def _line(row: int, number: int, broken: list[tuple[int, int, str]]) -> int:
    """The line of the row that the reader counts as ``row``: it does not count the broken lines before."""
    for of_file, line, _ in broken:
        if of_file == number and line <= row:
            row += 1
    return row


def _of_time(time: Column, now_ms: int) -> list[tuple[str, str]]:
    latest = min(now_ms + DAY_MS, LATEST_MS)
    return [
        (f"{time.cell} IS NULL", "time is missing"),
        (f"{time.as_ms} IS NULL", "time cannot be read: a number of s, ms, us or ns since 1970, or ISO 8601"),
        (f"{time.as_ms} < {EARLIEST_MS}", "time is before the year 2000"),
        (f"{time.as_ms} > {latest}", "time lies in the future"),
    ]


def _of_number(column: Column, what: str, least: float | None = None) -> list[tuple[str, str]]:
    found = [(f"{column.cell} IS NOT NULL AND {column.as_number} IS NULL", f"{what} is no finite number")]
    if least is not None:
        found.append((f"{column.as_number} < {least}", f"{what} is below {least:g}"))
    return found


def _label(database: Database, source: Source, label: Label) -> tuple[str, list[tuple[str, str]]]:
    """(0 or 1 in SQL, mistakes). A cell that is missing says 0."""
    assert label.column is not None
    source.column(label.column, "labels")
    column = column_of(database, source, label.column)
    if label.equals is not None:
        return f"coalesce({column.as_text} = {text(label.equals)}, false)::UTINYINT", []
    wrong = _of_number(column, label.column)
    if label.at_least_share_of is not None:
        source.column(label.at_least_share_of, "labels")
        whole = column_of(database, source, label.at_least_share_of)
        wrong += _of_number(whole, label.at_least_share_of)
        condition = f"{whole.as_number} > 0 AND {column.as_number} >= {label.share!r} * {whole.as_number}"
    elif label.at_least is not None:
        condition = f"{column.as_number} >= {label.at_least!r}"
    else:
        condition = f"{column.as_number} <> 0"
    return f"coalesce({condition}, false)::UTINYINT", wrong


def _described(columns: Mapping[str, Column]) -> tuple[ColumnReport, ...]:
    return tuple(
        ColumnReport(column.name, column.kind + (f" ({column.unit})" if role == "time" and column.unit else ""), role)
        for role, column in columns.items()
    )
