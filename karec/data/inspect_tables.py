"""Inspects the tables of files: their columns, values and parts, and the role that a name shows."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from karec.data.columns import Column, infer_column
from karec.data.database import Database, database_errors, quote_name
from karec.data.files import FORMATS, SAMPLE, Source, find_files, open_source, suffix_of
from karec.data.table_settings import Files
from karec.errors import DataError

MIN_REPEATS = 3  # of each value of lists, on average
MAX_EVENTS = 20  # distinct events; a column with more values can have ids
MAX_POSITION = 1000  # of an item on a page
PART = r"(?<![a-z])(train|valid|val|dev|test)(ing|ation)?(?![a-z])"  # in the name of a file
SEPARATORS = "|;,"
_ID = r"s?(_?(id|code|key|no|nr|number|uuid|hash))?(_|$)"
USER_WORDS = r"user|uid|customer|member|account|listener|viewer|reader|person|client|buyer|shopper"
ITEM_WORDS = (
    r"item|iid|video|vid|work|product|sku|movie|film|track|song|artist|article|content|book|game|post|ad"
    r"|listing|stock"
)
BASKET_WORDS = r"invoice|order|basket|cart|receipt|transaction|bill|ticket|session|visit"
NAMES = {  # patterns of column names by role, the surest first
    "user": (rf"(^|_)({USER_WORDS}){_ID}", rf"(^|_)(visitor|session|device){_ID}"),
    "item": (rf"(^|_)({ITEM_WORDS}){_ID}",),
    "time": (r"(^|_)(time|ts|timestamp|datetime|when|at|date)(_|$)|time", r"date|day"),
    "event": (r"(^|_)(event|action|behaviou?r|activity|verb)s?(_|$)",),
    "request": (r"(^|_)(request|impression|query)_?id(_|$)",),
    "scene": (r"(^|_)(scene|tab|page|surface|placement|channel)(_|$)",),
    "play_ms": (r"(play|watch|listen|dwell).*_ms$|(play|watch|listen)_time_ms",),
    "position": (r"(^|_)(position|pos|rank|slot)(_|$)",),
    "value": (r"(^|_)(amount|quantity|qty|units|total|revenue|price|value)(_|$)",),
    "rating": (r"(^|_)(rating|score|stars|grade)(_|$)",),
    "creator": (rf"(^|_)(creator|author|artist|publisher|uploader|owner){_ID}",),
    "song": (rf"(^|_)(song|music){_ID}",),
    "type": (r"(^|_)(type|format|kind)(_|$)",),
    "tag": (r"(^|_)(tag|genre|category|categories|topic)s?(_|$)",),
    "published": (r"(publish|upload|release|creat|posted|added|listed|launch)",),
    "vector": (r"(vector|embedding|emb)(_|$)",),
}


@dataclass(frozen=True)
class InspectedTable:
    """A table and its first SAMPLE rows: ``n_rows`` of them, and distinct values by column.

    ``parts``: paths of the files of a ready-made split, by train, validation and test.
    """

    source: Source
    path: str
    columns: dict[str, Column]
    n_rows: int
    n_distinct: dict[str, int]
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def full_path(self) -> Path:
        return Path(self.source.table.path)

    @property
    def part(self) -> str | None:
        """Part of a ready-made split by the name of the file: train, validation or test."""
        match = re.search(PART, self.full_path.name.lower())
        return None if match is None else {"tr": "train", "te": "test"}.get(match[0][:2], "validation")

    @property
    def sample(self) -> str:
        return f"(SELECT * FROM {self.source.name} LIMIT {SAMPLE})"

    def find_column(self, role: str, kinds: Collection[str], excluded: Collection[str] = ()) -> str | None:
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

    def is_position(self, name: str) -> bool:
        """Returns True for a column of whole numbers from 0 or 1 to at most MAX_POSITION."""
        number = self.columns[name].as_number
        smallest, largest = self._row(f"min({number}), max({number})")
        return smallest in (0, 1) and largest <= MAX_POSITION

    def has_negatives(self, name: str) -> bool:
        """Returns True if some of the numbers are negative, but fewer than half: amounts with refunds."""
        (n,) = self._row(f"count(*) FILTER ({self.columns[name].as_number} < 0)")
        return bool(0 < n < 0.5 * self.n_rows)

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
        if column.is_typed or column.has_comma or column.kind not in ("text", "integer", "number"):
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

    A file in a folder is a table, and so is a folder in it that has such files. Files of one folder with
    the same columns are one table.
    """
    tables, problems = [], []
    for number, path in enumerate(_table_paths(paths)):
        try:
            tables.append(_inspect(database, f"inspected_{number}", path, folder))
        except DataError as error:
            if path in paths:
                raise
            problems.append(str(error))
    return _join_parts(database, tables, folder), problems


def _join_parts(database: Database, tables: Sequence[InspectedTable], folder: Path) -> list[InspectedTable]:
    """Joins tables with the same columns whose names differ in numbers, such as log-1 and log-2.

    The parts of a ready-made split, such as train and test, are one table too. Raises DataError for a part
    with other columns: a test set must not become users or items.
    """
    groups: dict[tuple[Path, tuple[str, ...]], list[InspectedTable]] = {}
    for table in tables:
        pattern = table.full_path.with_name(re.sub(r"\d+([-_.]\d+)*", "*", table.full_path.name))
        groups.setdefault((pattern, tuple(table.columns)), []).append(table)
    joined = [
        parts[0] if len(parts) == 1 else _inspect(database, f"joined_{number}", pattern, folder)
        for number, ((pattern, _), parts) in enumerate(groups.items())
    ]
    splits: dict[tuple[Path, str], dict[str, InspectedTable]] = {}
    for table in joined:
        if (part := table.part) is not None:
            rest = re.sub(PART, "*", table.full_path.name.lower())
            splits.setdefault((table.full_path.parent, rest), {})[part] = table
    for number, parts in enumerate(split for split in splits.values() if len(split) > 1):
        files = {part: parts[part] for part in ("train", "validation", "test") if part in parts}
        if (
            not {"train", "test"} <= files.keys()
            or len({tuple(table.columns) for table in files.values()}) > 1
        ):
            names = ", ".join(table.path for table in files.values())
            raise DataError(f"{names} are parts of a split, expected train and test with the same columns")
        paths = [file for table in files.values() for file in table.source.files]
        whole = _inspect(database, f"split_{number}", paths[0], folder, paths)
        joined = [table for table in joined if table not in files.values()]
        joined.append(replace(whole, parts={part: table.path for part, table in files.items()}))
    return joined


def has_name_of(role: str, name: str) -> bool:
    """Returns True if the name of the column shows the role."""
    return any(re.search(pattern, snake_case(name)) for pattern in NAMES[role])


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


def _inspect(
    database: Database, name: str, path: Path, folder: Path, files: Sequence[Path] = ()
) -> InspectedTable:
    full, top = path.resolve(), folder.resolve()
    relative = str(full.relative_to(top) if full.is_relative_to(top) else full)
    source = open_source(database, name, Files(path=str(full)), tuple(files) or find_files(full))
    with database_errors(path):
        columns = {column: infer_column(source, column) for column in source.types}
        table = InspectedTable(source, relative, columns, 0, {})
        counts = ", ".join(f"count(DISTINCT {column.as_text})" for column in columns.values())
        n_rows, *distinct = database.rows(f"SELECT count(*), {counts} FROM {table.sample}")[0]
    if not n_rows:
        raise DataError(f"{path}: no row below the header. Remove the file if it has no rows.")
    return InspectedTable(source, relative, columns, n_rows, dict(zip(columns, distinct, strict=True)))
