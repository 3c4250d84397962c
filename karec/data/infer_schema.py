"""Infers which table is the log, which are items and users, and the role of columns, by names and cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.data.columns import Column, infer_column
from karec.data.database import Database, database_errors, quote_name
from karec.data.files import FORMATS, SAMPLE, Source, find_files, open_source, suffix_of
from karec.data.table_settings import Files
from karec.errors import DataError

MIN_SHARED = 0.5  # of the log's ids are in the table of items or users
MIN_REPEATS = 3  # of each value of lists, on average
SEPARATORS = "|;,"
_ID = r"s?(_?(id|code|key|no|nr|number|uuid|hash))?(_|$)"
_USER = r"user|uid|customer|member|account|listener|viewer|person|client|buyer"
_ITEM = (
    r"item|iid|video|vid|work|product|sku|movie|film|track|song|artist|article|content|book|game|post|ad"
    r"|listing"
)
NAMES = {  # patterns of column names by role, the surest first
    "user": (rf"(^|_)({_USER}){_ID}", rf"(^|_)(visitor|session|device){_ID}"),
    "item": (rf"(^|_)({_ITEM}){_ID}",),
    "time": (r"(^|_)(time|ts|timestamp|datetime|when|at|date)(_|$)|time", r"date|day"),
    "event": (r"(^|_)(event|action|behaviou?r|activity|verb)s?(_|$)",),
    "request": (r"(^|_)(request|impression|query)_?id(_|$)",),
    "scene": (r"(^|_)(scene|tab|page|surface|placement|channel)(_|$)",),
    "play_ms": (r"(play|watch|listen|dwell).*_ms$|(play|watch|listen)_time_ms",),
    "rating": (r"(^|_)(rating|score|stars|grade)(_|$)",),
    "creator": (rf"(^|_)(creator|author|artist|seller|brand|publisher|uploader|owner){_ID}",),
    "song": (rf"(^|_)(song|music){_ID}",),
    "type": (r"(^|_)(type|format|kind)(_|$)",),
    "tag": (r"(^|_)(tag|genre|category|categories|topic)s?(_|$)",),
    "published": (r"(publish|upload|release|creat|posted)",),
    "vector": (r"(vector|embedding|emb)(_|$)",),
}


@dataclass(frozen=True)
class InspectedTable:
    """A table and its first SAMPLE rows: ``n_rows`` of them, and distinct values by column."""

    source: Source
    path: str
    columns: dict[str, Column]
    n_rows: int
    n_distinct: dict[str, int]

    @property
    def sample(self) -> str:
        return f"(SELECT * FROM {self.source.name} LIMIT {SAMPLE})"

    def named(self, role: str, kinds: Collection[str], excluded: Collection[str] = ()) -> str | None:
        """Returns the column whose name shows ``role``, of one of ``kinds`` or "moment"."""
        for pattern in NAMES[role]:
            for name, column in self.columns.items():
                own_kinds = {column.kind, "moment" if self.is_time(name) else column.kind}
                if name not in excluded and own_kinds & set(kinds) and re.search(pattern, snake_case(name)):
                    return name
        return None

    def is_time(self, name: str) -> bool:
        return self.columns[name].kind == "time" or bool(self.columns[name].unit)

    def is_flag(self, name: str) -> bool:
        """Returns True for a column of 0 and 1, or of true and false."""
        column = self.columns[name]
        if column.kind not in ("boolean", "integer", "number") or self.n_distinct[name] != 2:
            return False
        return self._row(f"min({column.as_number}), max({column.as_number})") == (0, 1)

    def hardly_repeats(self, name: str) -> bool:
        """Returns True for titles and descriptions: long texts, or nearly one for each row."""
        n = self.n_distinct[name]
        if self.columns[name].kind != "text" or self.n_rows < 20 or n < 0.5 * self.n_rows:
            return False
        (length,) = self._row(f"avg(length({quote_name(name)}))")
        return bool(length > 20) or n >= 0.9 * self.n_rows

    def separator(self, name: str) -> str | None:
        """Returns the separator of values in cells that hold several. None: cells hold one."""
        column = self.columns[name]
        if column.is_typed or column.kind not in ("text", "integer", "number"):
            return None
        text = column.as_text
        for mark in SEPARATORS:
            n_lists, n_cells = self._row(f"count(*) FILTER (contains({text}, '{mark}')), count({text})")
            if n_lists <= max(0.02 * n_cells, 1):
                continue
            values = f"SELECT trim(unnest(string_split({text}, '{mark}'))) AS v FROM {self.sample}"
            n, n_distinct = self.source.database.rows(f"SELECT count(*), count(DISTINCT v) FROM ({values})")[
                0
            ]
            if n >= MIN_REPEATS * n_distinct:
                return mark
        return None

    def shared_fraction(self, log: InspectedTable, id_column: str, name: str) -> float:
        """Returns the fraction of the sampled ids of the log that are in the column ``name``."""
        if {log.columns[id_column].kind, self.columns[name].kind} not in ({"integer"}, {"text"}):
            return 0.0
        ids = f"SELECT DISTINCT {quote_name(id_column)}::VARCHAR AS id FROM {log.sample}"
        own = f"SELECT {quote_name(name)}::VARCHAR FROM {self.source.name}"
        return float(
            self.source.database.rows(f"SELECT avg((id IN ({own}))::INTEGER) FROM ({ids})")[0][0] or 0
        )

    def _row(self, expressions: str) -> tuple[Any, ...]:
        return self.source.database.rows(f"SELECT {expressions} FROM {self.sample}")[0]


def inspect_tables(
    database: Database, paths: Sequence[Path], folder: Path
) -> tuple[list[InspectedTable], list[str]]:
    """Returns the tables of files and folders, and the reasons for files that are not tables.

    A file in a folder is a table, and so is a folder in it that has such files.
    """
    tables, problems = [], []
    for number, path in enumerate(_table_paths(paths)):
        try:
            tables.append(_inspect(database, f"inspected_{number}", path, folder))
        except DataError as error:
            if path in paths:
                raise
            problems.append(str(error))
    return tables, problems


def find_log(
    tables: Sequence[InspectedTable], problems: Sequence[str]
) -> tuple[InspectedTable, dict[str, str]]:
    """Returns the log and its columns of the roles user, item and time.

    The log is the longest table with the three; else the longest with several items of a user. ``problems``:
    messages on files that cannot be read, for the error if there is no log.
    """
    candidates = [(table, roles) for table in tables if (roles := _log_roles(table))]
    logs = [(table, roles) for table, roles in candidates if "time" in roles]
    logs = logs or [
        (table, roles) for table, roles in candidates if table.n_distinct[roles["user"]] < table.n_rows
    ]
    if not logs:
        columns = "; ".join(f"{table.path}: {', '.join(table.columns)}" for table in tables)
        raise DataError(
            f"no table has a user, an item and a time by its columns' names; there are {columns}. Write "
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
            is_named = any(re.search(pattern, snake_case(name)) for pattern in NAMES[noun])
            score = fraction + (snake_case(name) == snake_case(id_column)) + 0.5 * is_named
            is_unique = table.n_distinct[name] >= 0.9 * table.n_rows
            if fraction >= MIN_SHARED and is_unique and score > best_score:
                best, best_score = (table, name, fraction), score
    return best


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace(" ", "_").replace("-", "_").lower()


def _table_paths(paths: Sequence[Path]) -> list[Path]:
    tables: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        tables += sorted(filter(_is_table, path.iterdir())) if path.is_dir() else [path]
    if not tables:
        raise DataError(f"{', '.join(map(str, paths))}: no file that ends with {', '.join(sorted(FORMATS))}")
    return tables


def _is_table(path: Path) -> bool:
    files = path.iterdir() if path.is_dir() else [path]
    return any(file.is_file() and suffix_of(file) in FORMATS for file in files)


def _inspect(database: Database, name: str, path: Path, folder: Path) -> InspectedTable:
    full, top = path.resolve(), folder.resolve()
    relative = str(full.relative_to(top) if full.is_relative_to(top) else full)
    source = open_source(database, name, Files(path=str(full)), find_files(full))
    with database_errors(path):
        columns = {column: infer_column(source, column) for column in source.types}
        table = InspectedTable(source, relative, columns, 0, {})
        counts = ", ".join(f"count(DISTINCT {column.as_text})" for column in columns.values())
        n_rows, *distinct = database.rows(f"SELECT count(*), {counts} FROM {table.sample}")[0]
    return InspectedTable(source, relative, columns, n_rows, dict(zip(columns, distinct, strict=True)))


def _log_roles(table: InspectedTable) -> dict[str, str]:
    kinds = ("integer", "text", "moment")  # an integer may look like a time
    user = table.named("user", kinds)
    item = table.named("item", kinds, (user or "",))
    if user is None or item is None:
        return {}
    times = (name for name in table.columns if name not in (user, item) and table.is_time(name))
    time = table.named("time", ("moment",), (user, item)) or next(times, None)
    return {"user": user, "item": item, **({} if time is None else {"time": time})}
