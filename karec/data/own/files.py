"""CSV, JSONL and Parquet files as one table: a path, a glob or a folder, read in columns, in bounded memory, by DuckDB.

Cells of CSV and JSONL are text until ``kinds.py`` says what they are, so that no column changes its type by its first
rows. Lines that no reader can split are kept aside, with their numbers.
"""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from karec._toml import nearest
from karec.data.own.contract import Files
from karec.data.own.database import Database, told
from karec.errors import DataError

FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".dat": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FORMATS |= {".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
DELIMITERS = ",\t;|"
LINE, FILE_NUMBER = "__line", "__file"
LONGEST_LINE = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Source:
    """A view of the database called ``name``: the files' columns, LINE (of the file's first row: 1) and FILE_NUMBER.

    ``types`` are DuckDB's, by column; text for CSV and JSONL. ``find_broken`` are queries for (file number, line, what
    is wrong) of lines that cannot be split into cells; they know after the view was read to its end.
    """

    name: str
    files: tuple[Path, ...]
    types: dict[str, str]
    find_broken: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return list(self.types)

    def column(self, name: str, what: str) -> str:
        """``name``, quoted for SQL. DataError naming the nearest column where there is none; ``what`` asks for it."""
        if name not in self.types:
            known = f"columns are {self.columns}"
            raise DataError(f"{self.files[0]}: {what}: no column {name!r}{nearest(name, self.types)}; {known}")
        return quoted(name)

    def broken(self, database: Database) -> list[tuple[int, int, str]]:
        return sorted(row for query in self.find_broken for row in database.rows(query))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def files_of(table: Files, folder: Path) -> tuple[Path, ...]:
    """The files that ``table.path`` names, sorted. DataError where it names none, or what is no regular file."""
    path = folder / table.path
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in FORMATS and p.is_file())
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise DataError(f"{path} names no file: a file, a folder or a glob of {', '.join(sorted(FORMATS))} is wanted")
    for each in found:
        if not each.is_file():
            raise DataError(f"{each} is no regular file")
        if each.stat().st_size == 0:
            raise DataError(f"{each} is empty")
    formats = {format_of(each) for each in found}
    if len(formats) > 1:
        raise DataError(f"{path} names files of several formats, {sorted(formats)}: a table has one")
    return tuple(found)


def format_of(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    found = FORMATS.get(suffixes[-1].lower() if suffixes else "")
    if found is None:
        raise DataError(f"{path}: what format it has is told by its ending; known are {', '.join(sorted(FORMATS))}")
    return found


def open_source(database: Database, name: str, table: Files, folder: Path) -> Source:
    """``table``'s files as the view ``name`` of the database. DataError naming file and column, and what to do."""
    files = files_of(table, folder)
    readers = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
    with told(files[0]):
        return readers[format_of(files[0])](database, name, table, files)


def header_of(path: Path, table: Files) -> tuple[list[str], str]:
    """(column names, delimiter) of a CSV file. The delimiter is the one of DELIMITERS that the first line holds most."""
    import gzip

    opened = gzip.open if path.suffix == ".gz" else open
    encoding = "utf-8-sig" if table.encoding == "utf-8" else table.encoding
    try:
        with opened(path, "rt", encoding=encoding, newline="") as lines:
            first = lines.readline(LONGEST_LINE)
            if len(first) == LONGEST_LINE:
                raise DataError(
                    f"{path}: the first line is longer than {LONGEST_LINE} characters: no header of a table"
                )
            delimiter = table.delimiter or max(DELIMITERS, key=first.count)
            names = next(csv.reader([first], delimiter=delimiter), [])
    except (OSError, EOFError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: the header cannot be read as {table.encoding} text: {error}") from error
    _check_names(path, names)
    return names, delimiter


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not names or not any(names):
        raise DataError(f"{path}: line 1: a header with the columns' names is wanted")
    for at, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{path}: line 1: column {at + 1} has no name")
        if name in names[:at]:
            raise DataError(f"{path}: line 1: the column {name!r} is named twice")


def _same_columns(path: Path, names: Sequence[str], first: Path, expected: Sequence[str]) -> None:
    if sorted(names) != sorted(expected):
        raise DataError(
            f"{path} has the columns {list(names)}, {first} has {list(expected)}; files of a table have the same"
        )


def _csv(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    names, _ = header_of(files[0], table)
    parts, broken = [], []
    for number, path in enumerate(files):
        own, delimiter = header_of(path, table)
        _same_columns(path, own, files[0], names)
        rejects = f"{name}_{number}"
        columns = ", ".join(f"{text(each)}: 'VARCHAR'" for each in own)
        options = (
            f"delim = {text(delimiter)}, quote = '\"', escape = '\"', header = true, auto_detect = false, "
            f"columns = {{{columns}}}, encoding = {text(table.encoding)}, max_line_size = {LONGEST_LINE}, "
            f"store_rejects = true, rejects_table = 'rejects_{rejects}', rejects_scan = 'scan_{rejects}'"
        )
        parts.append(
            f"SELECT {', '.join(map(quoted, names))}, row_number() OVER () + 1 AS {LINE}, {number} AS {FILE_NUMBER} "
            f"FROM read_csv({text(path)}, {options})"
        )
        broken.append(
            f"SELECT {number}, line::BIGINT, replace(lower(any_value(error_type::VARCHAR)), '_', ' ') "
            f"FROM rejects_{rejects} GROUP BY line"
        )
    database.run(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(parts)}")
    return Source(name, files, dict.fromkeys(names, "VARCHAR"), tuple(broken))


def _jsonl(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    names = _json_names(files, table)
    cells = ", ".join(f"l ->> {text('$.' + json.dumps(each, ensure_ascii=False))} AS {quoted(each)}" for each in names)
    good = "CASE WHEN json_valid(l) THEN json_type(l) = 'OBJECT' ELSE false END"
    parts, broken = [], []
    for number, path in enumerate(files):
        lines = (
            f"(SELECT l, row_number() OVER () AS {LINE} FROM read_csv({text(path)}, auto_detect = false, header = false, "
            f"delim = '\x01', quote = '', escape = '', columns = {{'l': 'VARCHAR'}}, max_line_size = {LONGEST_LINE}))"
        )
        parts.append(f"SELECT {cells}, {LINE}, {number} AS {FILE_NUMBER} FROM (SELECT * FROM {lines} WHERE {good})")
        broken.append(f"SELECT {number}, {LINE}, 'not a JSON object' FROM {lines} WHERE NOT ({good})")
    database.run(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(parts)}")
    return Source(name, files, dict.fromkeys(names, "VARCHAR"), tuple(broken))


def _json_names(files: tuple[Path, ...], table: Files) -> list[str]:
    """The keys of the first thousand lines of each file, in the order in which they are met."""
    import gzip

    names: dict[str, None] = {}
    for path in files:
        opened = gzip.open if path.suffix == ".gz" else open
        try:
            with opened(path, "rt", encoding=table.encoding, errors="replace") as lines:
                for _, line in zip(range(1000), iter(lambda: lines.readline(LONGEST_LINE), ""), strict=False):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(record, dict):
                        names |= dict.fromkeys(record)
        except (OSError, EOFError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    if not names:
        raise DataError(f"{files[0]}: none of its first lines is a JSON object")
    return list(names)


def _parquet(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    parts: list[str] = []
    types: dict[str, str] = {}
    for number, path in enumerate(files):
        described = database.rows(f"DESCRIBE SELECT * FROM read_parquet({text(path)})")
        own = {column: kind for column, kind, *_ in described}
        types = types or own
        _same_columns(path, list(own), files[0], list(types))
        for column, kind in own.items():
            if kind != types[column]:
                raise DataError(f"{path}: column {column!r} is {kind}, in {files[0]} it is {types[column]}")
        parts.append(
            f"SELECT {', '.join(map(quoted, types))}, file_row_number + 1 AS {LINE}, {number} AS {FILE_NUMBER} "
            f"FROM read_parquet({text(path)}, file_row_number = true)"
        )
    database.run(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(parts)}")
    return Source(name, files, types)
