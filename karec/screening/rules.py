"""Rules and quotas in SQL: the first reason why a work is rejected, and its cell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.data.database import Database, quote_name, quote_text
from karec.errors import DataError
from karec.screening.library import ColumnType
from karec.screening.settings import Condition, Rule, ScreeningSettings

INTEGER = re.compile(r"-?[0-9]{1,18}")
NUMBERS: tuple[ColumnType, ...] = ("integer", "number")


@dataclass(frozen=True)
class BlockList:
    """Ids of a rule's file ``not_in``; ``table`` is their table in the database."""

    rule: Rule
    table: str
    values: tuple[str, ...] | tuple[int, ...]
    integers: bool

    @property
    def column(self) -> str:
        assert self.rule.column is not None
        return self.rule.column


def read_block_lists(
    settings: ScreeningSettings, column_types: Mapping[str, ColumnType]
) -> dict[str, BlockList]:
    """Returns {reason: its list}. A file has one id per line, without empty and # lines.

    Raises DataError for a line that is not an integer if the column's ids are.
    """
    lists = {}
    for index, rule in enumerate(settings.rules):
        if rule.not_in is None or rule.column is None:
            continue
        path = settings.folder / rule.not_in
        has_integers = column_types.get(rule.column) == "integer"
        values: list[int] | list[str] = _lines(path, has_integers)
        lists[rule.reason] = BlockList(rule, f"blocked_{index}", tuple(dict.fromkeys(values)), has_integers)  # type: ignore[arg-type]
    return lists


def _lines(path: Path, has_integers: bool) -> list[int] | list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as a list of ids: {error}") from error
    content = [
        (number, line.strip())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if not has_integers:
        return [line for _, line in content]
    ids = []
    for number, line in content:
        if INTEGER.fullmatch(line) is None:
            raise DataError(f"{path}, line {number}: id is {line[:40]!r}, expected an integer")
        ids.append(int(line))
    return ids


def load_block_lists(database: Database, block_lists: Mapping[str, BlockList]) -> None:
    import pyarrow as pa

    for block_list in block_lists.values():
        with database.table("listed", pa.table({"id": _values(block_list)})):
            database.run(f"CREATE OR REPLACE TABLE {block_list.table} AS SELECT * FROM listed")


def listed_sql(block_list: BlockList) -> str:
    """Returns the value of a row to look up in the list; NULL if the rule does not apply to the row."""
    applies = "true" if block_list.rule.where is None else condition_sql(block_list.rule.where)
    cell = f"TRY_CAST({quote_name(block_list.column)} AS {'BIGINT' if block_list.integers else 'VARCHAR'})"
    return f"CASE WHEN {applies} THEN {cell} END"


def without_listed(batch: Any, lists: Mapping[str, BlockList]) -> Any:
    """Returns the rows that are in no list; ``lists``: {column from listed_sql: its list}."""
    import pyarrow.compute as pc

    for column, block_list in lists.items():
        batch = batch.filter(pc.invert(pc.is_in(batch.column(column), value_set=_values(block_list))))
    return batch


def _values(block_list: BlockList) -> Any:
    import pyarrow as pa

    return pa.array(block_list.values, pa.int64() if block_list.integers else pa.string())


def needed_columns(settings: ScreeningSettings) -> Iterator[tuple[str, Collection[ColumnType]]]:
    for rule in settings.rules:
        if rule.column is not None:
            yield rule.column, ("integer", "text") if rule.not_in is not None else NUMBERS
        if rule.where is not None:
            yield rule.where.column, _condition_types(rule.where)
    for quota in settings.quotas:
        if quota.condition is not None:
            yield quota.condition.column, _condition_types(quota.condition)


def _condition_types(condition: Condition) -> tuple[ColumnType, ...]:
    value = condition.value
    if value is None:
        return NUMBERS
    return ("boolean",) if isinstance(value, bool) else ("text",) if isinstance(value, str) else ("integer",)


@dataclass(frozen=True)
class RejectionReasons:
    """``names[n]`` is the reason of code n, 0: accepted. ``sql`` gives a row's code."""

    names: tuple[str, ...]
    sql: str


def rejection_reasons(
    settings: ScreeningSettings, column_types: Mapping[str, ColumnType], block_lists: Mapping[str, BlockList]
) -> RejectionReasons:
    """Returns the reasons in order. Rules whose list is not in ``block_lists`` reject none."""
    names, cases = ["", "no id"], [f"{quote_name(settings.columns.work)} IS NULL"]
    for rule in settings.rules:
        if rule.column is None:
            continue
        column, applies = quote_name(rule.column), "true"
        if rule.where is not None:
            names.append(f"{rule.reason}: {rule.where.column} is missing")
            cases.append(_missing(rule.where.column, column_types))
            applies = condition_sql(rule.where)
        names.append(f"{rule.reason}: {rule.column} is missing")
        cases.append(f"{applies} AND {_missing(rule.column, column_types)}")
        violations = []
        if rule.min is not None:
            violations.append(f"{column} < {rule.min!r}")
        if rule.max is not None:
            violations.append(f"{column} > {rule.max!r}")
        if rule.reason in block_lists:
            violations.append(f"{column} IN (SELECT id FROM {block_lists[rule.reason].table})")
        names.append(rule.reason)
        cases.append(f"{applies} AND ({' OR '.join(violations) or 'false'})")
    whens = " ".join(f"WHEN {case} THEN {code}" for code, case in enumerate(cases, 1))
    return RejectionReasons(tuple(names), f"CASE {whens} ELSE 0 END")


def _missing(column: str, column_types: Mapping[str, ColumnType]) -> str:
    is_null = f"{quote_name(column)} IS NULL"
    return (
        f"({is_null} OR isnan({quote_name(column)}))" if column_types[column] == "number" else f"({is_null})"
    )


def condition_sql(condition: Condition) -> str:
    """Returns SQL that is true or false, never NULL; a missing cell is false."""
    column, value = quote_name(condition.column), condition.value
    if value is not None:
        literal = quote_text(value) if isinstance(value, str) else str(value).lower()
        return f"coalesce({column} = {literal}, false)"
    bounds = [] if condition.min is None else [f"{column} >= {condition.min!r}"]
    bounds += [] if condition.below is None else [f"{column} < {condition.below!r}"]
    # DuckDB orders NaN above all numbers
    return f"coalesce({' AND '.join(bounds)} AND NOT isnan({column}::DOUBLE), false)"


def cell_sql(conditions: Sequence[Condition | None]) -> str:
    """Returns SQL of a row's cell: bit n is set if it meets condition n; None (an age) sets no bit."""
    bits = [
        f"(({condition_sql(condition)})::BIGINT << {n})"
        for n, condition in enumerate(conditions)
        if condition is not None
    ]
    return " | ".join(bits) or "0::BIGINT"
