"""Rules and quotas in SQL: the first reason why a work is rejected, and which kinds it is of."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.errors import DataError
from karec.screening.database import Database, name, text
from karec.screening.library import Kind
from karec.screening.settings import Condition, Rule, Settings

INTEGER = re.compile(r"-?[0-9]{1,18}")
NUMBERS: tuple[Kind, ...] = ("integer", "number")


@dataclass(frozen=True)
class Blocked:
    """The lines of a rule's file ``not_in``; in the database they are the table ``table``."""

    rule: Rule
    table: str
    values: tuple[str, ...] | tuple[int, ...]
    integers: bool

    @property
    def column(self) -> str:
        assert self.rule.column is not None
        return self.rule.column


def read_blocked(settings: Settings, kinds: Mapping[str, Kind]) -> dict[str, Blocked]:
    """{reason: its list}. A file has an id a line; empty lines and those that begin with # are passed over.

    DataError names the line that is no integer where the column's ids are.
    """
    found = {}
    for at, rule in enumerate(settings.rules):
        if rule.not_in is None or rule.column is None:
            continue
        path = settings.folder / rule.not_in
        integers = kinds.get(rule.column) == "integer"
        values: list[int] | list[str] = _lines(path, integers)
        found[rule.reason] = Blocked(rule, f"blocked_{at}", tuple(dict.fromkeys(values)), integers)  # type: ignore[arg-type]
    return found


def _lines(path: Path, integers: bool) -> list[int] | list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of ids: {error}") from error
    said = [
        (at, line.strip()) for at, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")
    ]
    if not integers:
        return [line for _, line in said]
    ids = []
    for at, line in said:
        if INTEGER.fullmatch(line) is None:
            raise DataError(f"{path}, line {at}: {line[:40]!r} is no integer, as the column's ids are")
        ids.append(int(line))
    return ids


def load_blocked(database: Database, blocked: Mapping[str, Blocked]) -> None:
    """Each list as a table of one column ``id``."""
    import pyarrow as pa

    for each in blocked.values():
        with database.table("listed", pa.table({"id": _values(each)})):
            database.run(f"CREATE OR REPLACE TABLE {each.table} AS SELECT * FROM listed")


def listed_sql(blocked: Blocked) -> str:
    """What of a row is looked for in the list: NULL where the rule is not for it."""
    only = "true" if blocked.rule.where is None else condition_sql(blocked.rule.where)
    cell = f"TRY_CAST({name(blocked.column)} AS {'BIGINT' if blocked.integers else 'VARCHAR'})"
    return f"CASE WHEN {only} THEN {cell} END"


def without_listed(batch: Any, lists: Mapping[str, Blocked]) -> Any:
    """Rows of the pyarrow.RecordBatch that no list has; ``lists``: {column made by listed_sql: its list}."""
    import pyarrow.compute as pc

    for column, each in lists.items():
        batch = batch.filter(pc.invert(pc.is_in(batch.column(column), value_set=_values(each))))
    return batch


def _values(blocked: Blocked) -> Any:
    import pyarrow as pa

    return pa.array(blocked.values, pa.int64() if blocked.integers else pa.string())


def needed(settings: Settings) -> Iterator[tuple[str, Collection[Kind]]]:
    """(column, kinds that rules and quotas can read)."""
    for rule in settings.rules:
        if rule.column is not None:
            yield rule.column, ("integer", "text") if rule.not_in is not None else NUMBERS
        if rule.where is not None:
            yield rule.where.column, _kinds_of(rule.where)
    for quota in settings.quotas:
        if quota.condition is not None:
            yield quota.condition.column, _kinds_of(quota.condition)


def _kinds_of(condition: Condition) -> tuple[Kind, ...]:
    value = condition.value
    if value is None:
        return NUMBERS
    return ("boolean",) if isinstance(value, bool) else ("text",) if isinstance(value, str) else ("integer",)


@dataclass(frozen=True)
class Reasons:
    """``names[n]`` is the reason of code n; 0: none. ``sql`` gives a row's code."""

    names: tuple[str, ...]
    sql: str


def reasons(settings: Settings, kinds: Mapping[str, Kind], blocked: Mapping[str, Blocked]) -> Reasons:
    """In the order of the rules; before them, works without an id. A list that ``blocked`` lacks rejects
    none."""
    names, cases = ["", "no id"], [f"{name(settings.columns.work)} IS NULL"]
    for rule in settings.rules:
        if rule.column is None:
            continue
        column, only = name(rule.column), "true"
        if rule.where is not None:
            names.append(f"{rule.reason}: {rule.where.column} is missing")
            cases.append(_missing(rule.where.column, kinds))
            only = condition_sql(rule.where)
        names.append(f"{rule.reason}: {rule.column} is missing")
        cases.append(f"{only} AND {_missing(rule.column, kinds)}")
        broken = []
        if rule.least is not None:
            broken.append(f"{column} < {rule.least!r}")
        if rule.most is not None:
            broken.append(f"{column} > {rule.most!r}")
        if rule.reason in blocked:
            broken.append(f"{column} IN (SELECT id FROM {blocked[rule.reason].table})")
        names.append(rule.reason)
        cases.append(f"{only} AND ({' OR '.join(broken) or 'false'})")
    whens = " ".join(f"WHEN {case} THEN {code}" for code, case in enumerate(cases, 1))
    return Reasons(tuple(names), f"CASE {whens} ELSE 0 END")


def _missing(column: str, kinds: Mapping[str, Kind]) -> str:
    absent = f"{name(column)} IS NULL"
    return f"({absent} OR isnan({name(column)}))" if kinds[column] == "number" else f"({absent})"


def condition_sql(condition: Condition) -> str:
    """True or false, never NULL; a missing cell is of no kind."""
    column, value = name(condition.column), condition.value
    if value is not None:
        literal = text(value) if isinstance(value, str) else str(value).lower()
        return f"coalesce({column} = {literal}, false)"
    bounds = [] if condition.least is None else [f"{column} >= {condition.least!r}"]
    bounds += [] if condition.below is None else [f"{column} < {condition.below!r}"]
    # NaN is more than any number
    return f"coalesce({' AND '.join(bounds)} AND NOT isnan({column}::DOUBLE), false)"


def cell_sql(conditions: Sequence[Condition | None]) -> str:
    """A row's cell: bit n is set where it meets condition n; of a None, an age, no bit is."""
    bits = [
        f"(({condition_sql(each)})::BIGINT << {n})" for n, each in enumerate(conditions) if each is not None
    ]
    return " | ".join(bits) or "0::BIGINT"
