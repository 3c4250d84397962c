"""Infers which table is the log, which are items and users, and the role of columns, by names and cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from karec.data.columns import find_time_formats
from karec.data.inspect_tables import (
    BASKET_WORDS,
    ITEM_WORDS,
    MAX_EVENTS,
    USER_WORDS,
    InspectedTable,
    has_name_of,
    snake_case,
)
from karec.errors import DataError

MIN_SHARED = 0.5  # of the log's ids are in the table of items or users


def find_log(
    tables: Sequence[InspectedTable], problems: Sequence[str]
) -> tuple[InspectedTable, dict[str, str]]:
    """Returns the log and its columns of the roles user, item and time.

    The log is the longest table with the three; else the longest with several items of a user. ``problems``:
    messages on files that cannot be read, for the error if there is no log.
    """
    candidates = [(table, _log_roles(table)) for table in tables]
    if not any({"user", "item"} <= roles.keys() for _, roles in candidates):
        candidates = [(table, _infer_ids(table, roles, tables)) for table, roles in candidates]
    candidates = [(table, roles) for table, roles in candidates if {"user", "item"} <= roles.keys()]
    logs = [(table, roles) for table, roles in candidates if "time" in roles]
    logs = logs or [
        (table, roles) for table, roles in candidates if table.n_distinct[roles["user"]] < table.n_rows
    ]
    if not logs:
        if not tables:
            raise DataError("no file is a table: " + "; ".join(problems))
        columns = "; ".join(f"{table.path}: {', '.join(table.columns)}" for table in tables)
        raise DataError(
            f"no table has columns of a user and an item; there are {columns}. Write "
            "data.toml by hand: docs/data.md shows how"
            + "".join(f". Skipped: {problem}" for problem in problems)
        )
    return max(logs, key=lambda log: log[0].n_rows)


def find_table(
    log: InspectedTable, id_column: str, noun: str, others: Sequence[InspectedTable]
) -> tuple[InspectedTable, str, float] | None:
    """Returns the table of items or users, its id column, and the fraction of the log's ids in it."""
    best, best_score = None, 0.0
    for table in others:
        for name in table.columns:
            fraction = table.shared_fraction(log, id_column, name)
            score = fraction + (snake_case(name) == snake_case(id_column)) + 0.5 * has_name_of(noun, name)
            is_unique = table.n_distinct[name] >= 0.9 * table.n_rows
            if fraction >= MIN_SHARED and is_unique and score > best_score:
                best, best_score = (table, name, fraction), score
    return best


def _log_roles(table: InspectedTable) -> dict[str, str]:
    """Returns the columns of the roles user and item by their names, and the time."""
    kinds = ("integer", "text", "moment")  # an integer may look like a time
    roles: dict[str, str] = {}
    for role in ("user", "item"):
        name = table.find_column(role, kinds, roles.values())
        if name is not None:
            roles[role] = name
    times = (name for name in table.columns if name not in roles.values() and table.is_time(name))
    time = table.find_column("time", ("moment",), tuple(roles.values())) or next(times, None)
    if time is None and len(roles) == 2:
        time = _unclear_time(table)
    return {**roles, **({} if time is None else {"time": time})}


def _unclear_time(table: InspectedTable) -> str | None:
    """Returns the column of times in which day and month cannot be told apart.

    Raises DataError for a column that has the name of a time and other cells.
    """
    for name, column in table.columns.items():
        if column.kind != "text":
            continue
        if has_name_of("time", name) and find_time_formats(table.source, column):
            return name
        if re.search(r"(^|_)(time|timestamp|datetime)(_|$)", snake_case(name)):
            (cell,) = table.source.database.rows(f"SELECT any_value({column.as_text}) FROM {table.sample}")[0]
            raise DataError(
                f"{table.path}: the column {name!r} has the name of a time, but its cells are not times: "
                f"{cell!r:.80}. Rename the column, or write a data.toml with events.time_format."
            )
    return None


def _infer_ids(
    table: InspectedTable, roles: dict[str, str], tables: Sequence[InspectedTable]
) -> dict[str, str]:
    """Returns ``roles`` with the missing user or item, inferred from values.

    Ids of another table come first, then columns with many values that repeat. The name of the other table
    tells users from items. If it does not, a single other table has the items, and of two the user is the
    first column.
    """
    ids: dict[str, str] = {}  # column: name of the table that it refers to
    for name, column in table.columns.items():
        is_id = column.kind in ("integer", "text") and not column.unit and not table.is_flag(name)
        is_id &= not re.search(rf"(^|_)({BASKET_WORDS})", snake_case(name))
        if is_id and name not in roles.values() and table.n_distinct[name] < table.n_rows:
            other = _referenced_table(table, name, tables)
            if other is not None:
                ids[name] = snake_case(Path(other.path).stem)
            elif table.n_distinct[name] > MAX_EVENTS and not table.hardly_repeats(name):
                ids[name] = ""
    inferred = dict(roles)
    for role, pattern in (("user", USER_WORDS), ("item", ITEM_WORDS)):
        matches = (name for name, other in ids.items() if re.search(rf"(^|_)({pattern})s?(_|$)", other))
        if role not in inferred and (match := next(matches, None)) is not None:
            inferred[role] = match
            del ids[match]
    rest = sorted(ids, key=lambda name: not ids[name])  # stable: ids of other tables first
    missing = [role for role in ("user", "item") if role not in inferred]
    if sum(map(bool, ids.values())) == 1:
        missing.reverse()  # the only other table is that of the items
    inferred |= dict(zip(missing, rest, strict=False))
    return inferred


def _referenced_table(
    log: InspectedTable, id_column: str, tables: Sequence[InspectedTable]
) -> InspectedTable | None:
    """Returns a table with a unique column that has most of the values of ``id_column``."""
    for table in tables:
        for name in table.columns:
            is_unique = table.n_distinct[name] >= 0.9 * table.n_rows
            if table is not log and is_unique and table.shared_fraction(log, id_column, name) >= MIN_SHARED:
                return table
    return None
