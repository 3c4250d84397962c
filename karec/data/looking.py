"""Files looked at: which table is the log, which are items and users, and which column is what, by names and
cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from karec.data.contract import Files
from karec.data.database import Database, database_errors, quote_name
from karec.data.files import FORMATS, LOOKED_AT, Source, open_source, suffix_of
from karec.data.kinds import Column, column_of
from karec.errors import DataError

SHARED = 0.5  # of the log's ids must be among a table's ids
RECURS = 3  # times, on average, each value of a list in a cell
BETWEEN = "|;,"
_ID = r"s?(_?(id|code|key|no|nr|number|uuid|hash))?(_|$)"
_USER = r"user|uid|customer|member|account|listener|viewer|person|client|buyer"
_ITEM = (
    r"item|iid|video|vid|work|product|sku|movie|film|track|song|artist|article|content|book|game|post|ad"
    r"|listing"
)
NAMES = {  # role: patterns of names, the surest first
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
class Looked:
    """One table: its columns, and how many of the looked-at rows and of their distinct values each has."""

    database: Database
    source: Source
    path: str
    columns: dict[str, Column]
    rows: int
    distinct: dict[str, int]

    def named(self, role: str, kinds: Sequence[str], passed: Sequence[str] = ()) -> str | None:
        """The column whose name says ``role``, of one of ``kinds``, or a moment, not of ``passed``."""
        for pattern in NAMES[role]:
            for name, column in self.columns.items():
                kind = "moment" if column.kind == "time" or column.unit else column.kind
                if (
                    name not in passed
                    and {kind, column.kind} & set(kinds)
                    and re.search(pattern, snake(name))
                ):
                    return name
        return None

    def sample(self) -> str:
        return f"(SELECT * FROM {self.source.name} LIMIT {LOOKED_AT})"

    def is_flag(self, name: str) -> bool:
        """A column of 0 and 1, or of true and false."""
        column = self.columns[name]
        if column.kind not in ("boolean", "integer", "number") or self.distinct[name] != 2:
            return False
        return self.database.rows(
            f"SELECT min(n), max(n) FROM (SELECT {column.as_number} AS n FROM {self.sample()})"
        )[0] == (0, 1)

    def hardly_recurs(self, name: str) -> bool:
        """A text that is long, or nearly another one in each row: a title, a description."""
        if self.columns[name].kind != "text" or self.rows < 20 or self.distinct[name] < 0.5 * self.rows:
            return False
        mean = self.database.rows(f"SELECT avg(length({quote_name(name)})) FROM {self.sample()}")[0][0]
        return bool(mean > 20) or self.distinct[name] >= 0.9 * self.rows

    def between(self, name: str) -> str | None:
        """What stands between the values of cells that hold several, of BETWEEN; None: they hold one."""
        column = self.columns[name]
        if column.typed or column.kind not in ("text", "integer", "number"):
            return None
        for mark in BETWEEN:
            cells = f"SELECT {column.as_text} AS c FROM {self.sample()} WHERE {column.as_text} IS NOT NULL"
            pieces = f"SELECT trim(unnest(string_split(c, '{mark}'))) AS p FROM ({cells})"
            several, there = self.database.rows(
                f"SELECT count(*) FILTER (contains(c, '{mark}')), count(*) FROM ({cells})"
            )[0]
            if several > max(0.02 * there, 1):
                count, distinct = self.database.rows(f"SELECT count(*), count(DISTINCT p) FROM ({pieces})")[0]
                if count >= RECURS * distinct:
                    return mark
        return None

    def share_of(self, log: Looked, id_column: str, name: str) -> float:
        """The share of the log's ids, of those looked at, that stand in the column ``name``."""
        if {log.columns[id_column].kind, self.columns[name].kind} not in ({"integer"}, {"text"}):
            return 0.0
        of_log = f"SELECT DISTINCT {quote_name(id_column)}::VARCHAR AS id FROM {log.sample()}"
        there = f"SELECT {quote_name(name)}::VARCHAR FROM {self.source.name}"
        found = self.database.rows(f"SELECT avg((id IN ({there}))::INTEGER) FROM ({of_log})")[0][0]
        return float(found or 0.0)


@dataclass(frozen=True)
class Three:
    """The columns that a log must have; a log of positives alone may have no ``time``."""

    user: str
    item: str
    time: str | None

    @property
    def named(self) -> dict[str, str]:
        """{role: column}, those that there are."""
        return {role: name for role, name in vars(self).items() if name is not None}


def look_at(database: Database, paths: Sequence[Path], folder: Path) -> tuple[list[Looked], list[str]]:
    """(tables of ``paths``, files or folders; why some files of the folders are none)."""
    looked, passed = [], []
    for at, path in enumerate(_tables_of(paths)):
        try:
            looked.append(_look(database, at, path, folder))
        except DataError as error:
            if path in paths:
                raise
            passed.append(str(error))
    return looked, passed


def _tables_of(paths: Sequence[Path]) -> list[Path]:
    """A folder's files are a table each, and so is a folder in it that holds such files."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(each for each in path.iterdir() if _is_table(each))
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no file that ends with {', '.join(sorted(FORMATS))}")
    return found


def _is_table(path: Path) -> bool:
    if path.is_dir():
        return any(each.is_file() and suffix_of(each) in FORMATS for each in path.iterdir())
    return path.is_file() and suffix_of(path) in FORMATS


def _look(database: Database, at: int, path: Path, folder: Path) -> Looked:
    try:
        relative = str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        relative = str(path.resolve())
    source = open_source(database, f"looked_{at}", Files(str(path.resolve())), folder)
    with database_errors(path):
        columns = {name: column_of(database, source, name) for name in source.columns}
        sample = f"(SELECT * FROM {source.name} LIMIT {LOOKED_AT})"
        counts = ", ".join(f"count(DISTINCT {column.as_text})" for column in columns.values())
        rows, *distinct = database.rows(f"SELECT count(*), {counts} FROM {sample}")[0]
    return Looked(database, source, relative, columns, rows, dict(zip(columns, distinct, strict=True)))


def log_of(looked: Sequence[Looked]) -> tuple[Looked, Three]:
    """The table that has a user, an item and a time; where none has a time, one that has a user and an item,
    several times each user. Of several the longest. DataError: there is none.
    """
    found = [(table, three) for table in looked if (three := _three(table)) is not None]
    logs = [(table, three) for table, three in found if three.time is not None]
    logs = logs or [(table, three) for table, three in found if table.distinct[three.user] < table.rows]
    if not logs:
        tables = "; ".join(f"{table.path}: {', '.join(table.columns)}" for table in looked)
        raise DataError(
            f"no table has a user, an item and a time by its columns' names; there are {tables}. Write "
            "data.toml by hand: docs/howto-own-data.md shows how"
        )
    return max(logs, key=lambda each: each[0].rows)


def _three(table: Looked) -> Three | None:
    ids = ("integer", "text", "moment")  # an integer may look like a moment
    user = table.named("user", ids)
    item = table.named("item", ids, (user or "",))
    if user is None or item is None:
        return None
    time = table.named("time", ("moment",), (user, item))
    moments = [n for n, c in table.columns.items() if n not in (user, item) and (c.kind == "time" or c.unit)]
    return Three(user, item, time or next(iter(moments), None))


def entity_of(
    log: Looked, id_column: str, what: str, others: Sequence[Looked]
) -> tuple[Looked, str, float] | None:
    """(table, its id column, share of the log's ids in it): the table of ``what`` is the one with most of
    them."""
    best: tuple[float, Looked, str, float] | None = None
    for table in others:
        for name in table.columns:
            share = table.share_of(log, id_column, name)
            named = any(re.search(pattern, snake(name)) for pattern in NAMES[what])
            score = share + (snake(name) == snake(id_column)) + 0.5 * named
            is_id = share >= SHARED and table.distinct[name] >= 0.9 * table.rows
            if is_id and (best is None or score > best[0]):
                best = (score, table, name, share)
    return None if best is None else best[1:]


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace(" ", "_").replace("-", "_").lower()
