"""Reads the event log: a row is kept, or left out for a reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from karec.data.checks import REASON, IdType, check_mistakes, check_rows, number_mistakes
from karec.data.columns import EARLIEST_MS, LATEST_MS, Column, find_column, find_id_column
from karec.data.contract import Contract
from karec.data.database import quote_text
from karec.data.files import OFFSET, ROW, Mistake, Source, find_files
from karec.data.log_settings import Label
from karec.data.report import ColumnReport, TableReport, format_time
from karec.data.split import PART_NAMES
from karec.errors import DataError
from karec.times import DAY_MS

EVENTS = "event_rows"  # table of checked rows: u, i, t, other columns of the contract, labels l0, l1, …
ZONE = r":[0-9.]+ ?(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$"
MAX_POSITION = 32_000  # an int16, also if 1 is added
KEPT_EVENTS = f"SELECT * EXCLUDE ({ROW}, {REASON}) FROM {EVENTS} WHERE {REASON} IS NULL"


@dataclass
class _Cells:
    """SQL by column of EVENTS, mistakes, and (input column, use, column of EVENTS) for the report."""

    cells: dict[str, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    uses: list[tuple[Column, str, str]] = field(default_factory=list)

    def add(self, name: str, cell: str, column: Column, use: str, mistakes: list[Mistake]) -> None:
        self.cells[name] = cell
        self.mistakes += mistakes
        self.uses.append((column, use, name))


def read_events(source: Source, contract: Contract, users: IdType, items: IdType, now_ms: int) -> TableReport:
    """Creates the table EVENTS. Raises DataError for a column that the log lacks, or if no row is kept.

    Events later than a day after ``now_ms`` are mistakes.
    """
    cells = _cells(source, contract, users, items, now_ms)
    report = check_rows(source, EVENTS, cells.cells, cells.mistakes).report("events")
    columns = _column_reports(source, cells)
    used_names = {column.name for column in columns}
    columns += [ColumnReport(name, "", "not used") for name in source.types if name not in used_names]
    return replace(report, columns=tuple(columns))


def _cells(source: Source, contract: Contract, users: IdType, items: IdType, now_ms: int) -> _Cells:
    cells = _Cells()
    columns = {}
    for role, name in contract.events.columns.named.items():
        find = find_id_column if role in ("user", "item") else find_column
        columns[role] = find(source, name, f"events.columns.{role}")
    for role, cell, ids in (("user", "u", users), ("item", "i", items)):
        column = columns[role]
        cells.add(cell, ids.value(column), column, role, ids.mistakes(column, f"__{cell}"))
    if "time" in columns:
        time = find_time_column(source, contract)
        cells.add("t", time.as_ms, time, "time", _time_mistakes(time, now_ms))
        if time.kind == "time" and not time.is_typed and not time.format:
            cells.cells["has_zone"] = f"regexp_matches({time.cell}, '{ZONE}')"
    else:
        cells.cells["t"] = "0::BIGINT"  # `split.py` invents times
    if contract.events.repeats == "first":
        cells.cells["place"] = ROW
    unit = contract.events.time_unit
    cells.mistakes += check_mistakes(source, contract, "events", "" if unit == "auto" else unit)
    for role in ("event", "request", "scene"):
        if role in columns:
            cells.add(role, columns[role].as_text, columns[role], role, [])
    if contract.split.has_parts:
        _add_part(cells, source, contract)
    if contract.events.scenes:
        scenes = ", ".join(map(quote_text, contract.events.scenes))
        reason = f"column {columns['scene'].name!r}: none of events.scenes"
        cells.mistakes.append((f"coalesce(__scene, '') NOT IN ({scenes})", reason))
    if "day" in columns:
        _add_day(cells, columns["day"], contract.zone)
    if "value" in columns:
        value = columns["value"]
        cells.add("value", value.as_number, value, "value", number_mistakes(value))
    if "play_ms" in columns:
        played = columns["play_ms"]
        cell = f"TRY_CAST({played.as_number} AS BIGINT)"
        cells.add("play_ms", cell, played, "play_ms", number_mistakes(played, minimum=0))
    if "position" in columns:
        _add_position(cells, columns["position"])
    for at, (name, label) in enumerate(contract.labels.items()):
        if label.column is not None:
            column = find_column(source, label.column, f"labels.{name}.column")
            cell, mistakes = _label(source, name, label, column)
            cells.add(f"l{at}", cell, column, f"label {name}", mistakes)
    return cells


def find_time_column(source: Source, contract: Contract) -> Column:
    """Returns the column of the events' times. The contract must name it."""
    column = find_column(source, str(contract.events.columns.time), "events.columns.time")
    if contract.events.time_format is not None:
        return replace(column, kind="time", format=contract.events.time_format)
    unit = contract.events.time_unit
    return column.as_time if unit == "auto" else replace(column, unit=unit)


def _add_position(cells: _Cells, position: Column) -> None:
    number = position.as_number
    is_wrong = f"{number} <> floor({number}) OR {number} NOT BETWEEN 0 AND {MAX_POSITION}"
    reason = f"column {position.name!r}: not a whole number from 0 to {MAX_POSITION:,}"
    mistake = (f"{position.cell} IS NOT NULL AND coalesce({is_wrong}, true)", reason)
    cells.add("position", f"TRY_CAST({number} AS SMALLINT)", position, "position", [mistake])


def _add_part(cells: _Cells, source: Source, contract: Contract) -> None:
    if contract.split.column is None:
        parts = [part for _, part in find_log_files(contract)]
        cells.cells["part"] = f"{parts}[{ROW} // {OFFSET} + 1]"
        return
    part = find_column(source, contract.split.column, "split.column")
    names = " ".join(f"WHEN {quote_text(name)} THEN {number}" for name, number in PART_NAMES.items())
    cell = f"CASE lower({part.as_text}) {names} END"
    mistake = ("__part IS NULL", f"column {part.name!r}: not train, validation or test")
    cells.add("part", cell, part, "part", [mistake])


def find_log_files(contract: Contract) -> list[tuple[Path, int]]:
    """Returns the files of the log, each with its part, TRAIN if they are of all parts."""
    paths = (contract.events.path,) if contract.split.files is None else contract.split.files.paths
    files = [
        (file, part) for part, path in enumerate(paths) if path for file in find_files(contract.folder / path)
    ]
    names = [file.resolve() for file, _ in files]
    if len(set(names)) < len(names):
        raise DataError(f"{contract.name}: split.files has a file in two parts, expected different files")
    return files


def _add_day(cells: _Cells, day: Column, zone: str) -> None:
    days_late = "__day - to_timestamp(__t / 1000)::DATE"
    reason = f"column {day.name!r}: not the day of the time in {zone}, nor the next"
    is_other_day = (f"coalesce({days_late} NOT IN (0, 1), true)", reason)
    cells.add("day", f"TRY_STRPTIME({day.as_text}, ['%Y%m%d', '%Y-%m-%d'])::DATE", day, "day", [is_other_day])


def _time_mistakes(time: Column, now_ms: int) -> list[Mistake]:
    latest, where = min(now_ms + DAY_MS, LATEST_MS), f"column {time.name!r}"
    expected = "a number of s, ms, us or ns since 1970, or ISO 8601"
    if time.format:
        expected = f"the format {time.format!r}"
    return [
        (f"{time.cell} IS NULL", f"{where}: the time is missing"),
        ("__t IS NULL", f"{where}: not a time, expected {expected}"),
        (f"__t < {EARLIEST_MS}", f"{where}: the time is before the year 1980: set events.time_unit"),
        (f"__t > {latest}", f"{where}: the time is in the future"),
    ]


def _label(source: Source, name: str, label: Label, column: Column) -> tuple[str, list[Mistake]]:
    """Returns SQL for 0 or 1, and mistakes. A missing cell is 0."""
    mistakes = number_mistakes(column)
    if label.equals is not None:
        condition, mistakes = f"{column.as_text} = {quote_text(label.equals)}", []
    elif label.at_least_share_of is not None:
        divisor = find_column(source, label.at_least_share_of, f"labels.{name}.at_least_share_of")
        mistakes += number_mistakes(divisor)
        condition = f"{divisor.as_number} > 0 AND {column.as_number} >= {label.share!r} * {divisor.as_number}"
    elif label.at_least is not None:
        condition = f"{column.as_number} >= {label.at_least!r}"
    else:
        condition = f"{column.as_number} <> 0"
    return f"coalesce({condition}, false)::UTINYINT", mistakes


def _column_reports(source: Source, cells: _Cells) -> list[ColumnReport]:
    fractions = ", ".join(f"avg(({name} IS NULL)::INTEGER)" for _, _, name in cells.uses)
    local = "count(*) FILTER (NOT has_zone)" if "has_zone" in cells.cells else "0"
    query = f"SELECT min(t), max(t), count(t), {local}, {fractions} FROM {EVENTS}"
    first, last, n_times, n_local, *missing = source.database.rows(query)[0]
    reports: dict[str, ColumnReport] = {}
    for (column, use, _), fraction in zip(cells.uses, missing, strict=True):
        kind = f"{column.kind} ({column.unit})" if use == "time" and column.unit else column.kind
        if use == "time" and 0 < n_local < n_times:  # in the zone of data.toml
            kind = f"{kind}, {n_local:,} without a zone"
        has_range = use == "time" and first is not None
        span = (format_time(first), format_time(last)) if has_range else ("", "")
        uses = f"{reports[column.name].use}, {use}" if column.name in reports else use
        reports[column.name] = ColumnReport(column.name, kind, uses, float(fraction or 0), *span)
    return list(reports.values())
