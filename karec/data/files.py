"""Reads CSV, JSONL and Parquet files as one view of the database.

Cells of CSV and JSONL are texts until `columns.py` types them, so that leading zeros and large integers stay.
"""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from karec.data.database import Database, database_errors, quote_name, quote_text, scan_sql
from karec.data.lines import LONGEST_LINE, check_lines, find_lines, open_lines
from karec.data.table_settings import Files
from karec.errors import DataError, nearest

FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".dat": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FORMATS |= {".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
DELIMITERS = ",\t;|"
ROW = "__row"  # column of a view: OFFSET · number of the file + row, 1 is the first of a file
OFFSET = 2**40
RESERVED = {ROW, "__broken", "file_row_number"}  # the last is DuckDB's
SAMPLE = 20_000  # rows from which the content of a column is inferred
LONGEST_LIST = 400  # characters of a list of columns in an error
TYPES = {"VARCHAR", "BOOLEAN", "DATE", "DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
TYPES |= {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
MISSING = "'', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None', '\\N'"
Mistake = tuple[str, str]  # a condition in SQL, and the reason for which the row cannot be used


@dataclass(frozen=True)
class Source:
    """A view of the database with the files' columns and ROW. Texts are trimmed, and NULL if in MISSING.

    types      DuckDB's type by column, VARCHAR for CSV and JSONL
    texts      columns that are texts in the files
    mistakes   of rows of the view that have no cells
    """

    database: Database
    name: str
    files: tuple[Path, ...]
    table: Files
    types: dict[str, str]
    texts: frozenset[str] = frozenset()
    mistakes: tuple[Mistake, ...] = ()

    @property
    def format(self) -> str:
        return format_of(self.files[0])

    def require(self, column: str, key: str) -> None:
        """Raises DataError with the nearest column if there is none; ``key`` of data.toml names it."""
        if column not in self.types:
            columns = f"columns are {list(self.types)}"
            columns = columns if len(columns) <= LONGEST_LIST else f"{columns[:LONGEST_LIST]}…"
            raise DataError(
                f"{self.files[0]}: {key}: no column {column!r}{nearest(column, self.types)}; {columns}"
            )

    def broken_lines(self) -> list[tuple[str, str]]:
        """Returns (place, reason) of lines without cells. Complete after the view was read to its end."""
        broken = []
        for number, path in enumerate(self.files):
            if not (reasons := self._broken_positions(number)):
                continue
            _, lines = find_lines(path, self.table, (), reasons, is_csv=self.format == "csv")
            broken += [(number, lines[position], path, reason) for position, reason in reasons.items()]
        return [(f"{path.name}:{line}", reason) for _, line, path, reason in sorted(broken)]

    def places(self, rows: Collection[int]) -> dict[int, str]:
        """Returns the place of each row of the view: ``FILE:LINE``, or ``FILE: row N`` of Parquet."""
        places = {}
        for number, path in enumerate(self.files):
            here = {row % OFFSET for row in rows if row // OFFSET == number}
            lines: dict[int, int] = {}
            if here and self.format != "parquet":
                broken = self._broken_positions(number)
                lines, _ = find_lines(path, self.table, here, broken, is_csv=self.format == "csv")
            for row in here:
                place = f"{path.name}:{lines[row]}" if row in lines else f"{path.name}: row {row}"
                places[number * OFFSET + row] = place
        return places

    def _broken_positions(self, number: int) -> dict[int, str]:
        """Returns {position: reason} of the lines of a file that DuckDB could not split.

        A position is in bytes of UTF-8, also if the file has another encoding.
        """
        if self.format == "parquet":
            return {}
        rows = self.database.rows(
            "SELECT line_byte_position - 1, replace(lower(any_value(error_type::VARCHAR)), '_', ' ') "
            f"FROM rejects_{self.name}_{number} GROUP BY 1"
        )
        reasons = {"invalid encoding": "not UTF-8. Convert the file, or set encoding"}
        return {int(position): reasons.get(kind, kind) for position, kind in rows}


def find_files(path: Path) -> tuple[Path, ...]:
    """Returns the files of a path, a folder or a glob, sorted. Raises DataError if there is none."""
    endings = ", ".join(sorted(FORMATS))
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if suffix_of(file) in FORMATS and file.is_file())
    elif path.exists():
        files = [path]
    else:
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not files:
        raise DataError(f"{path}: no such file, expected a file, a folder or a glob of {endings}")
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} is not a regular file. Write its contents to a file.")
        if file.stat().st_size == 0:
            raise DataError(
                f"{file} is empty, expected a header and rows. Remove the file if it has no rows."
            )
    formats = sorted({format_of(file) for file in files})
    if len(formats) > 1:
        raise DataError(f"{path} names files of several formats, {', '.join(formats)}: a table has one")
    return tuple(files)


def suffix_of(path: Path) -> str:
    """Returns the suffix that names the format: the one before .gz."""
    return (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()


def format_of(path: Path) -> str:
    name = FORMATS.get(suffix_of(path))
    if name is None:
        endings = ", ".join(sorted(FORMATS))
        raise DataError(f"{path}: unknown format, expected a name that ends with one of {endings}")
    return name


def open_source(
    database: Database, name: str, table: Files, files: tuple[Path, ...], *, is_strict: bool = False
) -> Source:
    """Creates the view ``name`` of ``files``. Raises DataError that names file and column.

    is_strict   files of text have at least one row, and only whole lines
    """
    for file in files if is_strict and format_of(files[0]) != "parquet" else ():
        check_lines(file, table, is_csv=format_of(file) == "csv")
    create_view = {"csv": _csv_source, "jsonl": _jsonl_source, "parquet": _parquet_source}
    with database_errors(files[0]):
        return create_view[format_of(files[0])](database, name, table, files)


def _check_names(path: Path, names: Sequence[str], place: str = "") -> None:
    if not any(names):
        raise DataError(f"{path}: {place}the header is missing, expected the names of the columns")
    known: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        other = known.get(name.lower())  # DuckDB ignores the case of names
        problem = ""
        if not name.strip():
            problem = f"column {number} has no name: give it one"
        elif other == name:
            problem = f"the column {name!r} is named twice: give one of them another name"
        elif other is not None:
            problem = (
                f"the columns {other!r} and {name!r} differ only in upper and lower case: give one of them "
                "another name"
            )
        elif name.lower() in RESERVED:
            problem = f"a column cannot be called {name!r}: give it another name"
        if problem:
            raise DataError(f"{path}: {place}{problem}")
        known[name.lower()] = name


def _check_same(path: Path, names: Collection[str], first: Path, expected: Collection[str]) -> None:
    if sorted(names) != sorted(expected):
        raise DataError(
            f"{path} has the columns {list(names)}, {first} has {list(expected)}; files of a table have the "
            "same"
        )


def _create_view(
    source: Source, columns: Collection[str], texts: Collection[str], parts: list[str]
) -> Source:
    """Creates the view of `parts`, one query for a file: its columns and `row`, from 1."""

    def cell(column: str) -> str:
        text = f"trim({quote_name(column)})"
        clean = f"CASE WHEN {text} IN ({MISSING}) THEN NULL ELSE {text} END AS {quote_name(column)}"
        return clean if column in texts else quote_name(column)

    extra = ["__broken"] if source.mistakes else []
    cells = ", ".join([*map(cell, columns), *extra])
    rows = [
        f"SELECT {cells}, {number * OFFSET} + {ROW} AS {ROW} FROM ({part})"
        for number, part in enumerate(parts)
    ]
    source.database.run(f"CREATE TEMP VIEW {source.name} AS {' UNION ALL '.join(rows)}")
    return source


def _scan(path: Path, rejects: str, columns: Sequence[str], options: str, table: Files) -> str:
    """Returns SQL that reads texts and row numbers; lines that it cannot split are in rejects_…."""
    types = ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in columns)
    return (
        f"SELECT *, row_number() OVER () AS {ROW} FROM read_csv({quote_text(path)}, auto_detect = false, "
        f"{options}, columns = {{{types}}}, encoding = {quote_text(table.encoding)}, "
        f"max_line_size = {LONGEST_LINE}, store_rejects = true, rejects_table = 'rejects_{rejects}', "
        f"rejects_scan = 'scan_{rejects}')"
    )


def _csv_source(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    names: list[str] = []
    parts = []
    for number, path in enumerate(files):
        own_names, delimiter = _read_header(path, table)
        names = names or own_names
        _check_same(path, own_names, files[0], names)
        quote = quote_text('"' if table.quoted else "")
        options = f"delim = {quote_text(delimiter)}, quote = {quote}, escape = {quote}, header = true"
        parts.append(_scan(path, f"{name}_{number}", own_names, options, table))
    source = Source(database, name, files, table, dict.fromkeys(names, "VARCHAR"))
    return _create_view(source, names, names, parts)


def _read_header(path: Path, table: Files) -> tuple[list[str], str]:
    """Returns the columns and the delimiter: the most frequent one of the header, if the table names none.

    DuckDB's own detection fails on files with a broken line, whose place has to be reported.
    """
    try:
        with open_lines(path, table.encoding) as lines:
            header = next(lines, b"").decode("utf-8-sig")
        delimiter = table.delimiter or max(DELIMITERS, key=header.count)
        dialect = csv.excel if table.quoted else _Unquoted
        names = next(csv.reader([header], dialect, delimiter=delimiter), [])
    except (UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path}: line 1: the header cannot be read as {table.encoding} text: {error}"
        ) from error
    _check_names(path, names, "line 1: ")
    return names, delimiter


class _Unquoted(csv.excel):
    quoting = csv.QUOTE_NONE


def _jsonl_source(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    is_object = "CASE WHEN json_valid(l) THEN json_type(l) = 'OBJECT' ELSE false END"
    options = "header = false, delim = '\x01', quote = '', escape = ''"
    scans = [_scan(path, f"{name}_{number}", ["l"], options, table) for number, path in enumerate(files)]
    objects = [f"SELECT l::JSON AS l FROM ({scan}) WHERE {is_object}" for scan in scans]
    for path, query in zip(files, objects, strict=True):  # the structure has each key once
        for (keys,) in database.rows(f"SELECT json_keys(l) FROM ({query}) LIMIT 1"):
            _check_names(path, keys)
    query = f"SELECT json_group_structure(l) FROM ({' UNION ALL '.join(objects)})"
    types = json.loads(database.rows(query)[0][0] or "{}")
    if not types:
        raise DataError(f"{files[0]}: no line is a JSON object, expected one object per line")
    _check_names(files[0], list(types))
    paths = {key: quote_text("$." + json.dumps(key, ensure_ascii=False)) for key in types}
    cells = ", ".join(f"o ->> {path} AS {quote_name(key)}" for key, path in paths.items())
    parts = [
        f"SELECT {cells}, o IS NULL AS __broken, {ROW} FROM (SELECT CASE WHEN {is_object} THEN l END AS o, * "
        f"FROM ({scan})) WHERE trim(l) <> ''"
        for scan in scans
    ]
    texts = frozenset(key for key, kind in types.items() if kind in ("VARCHAR", "JSON"))  # JSON: mixed
    mistakes = (("__broken", "not a JSON object"),)
    source = Source(database, name, files, table, dict.fromkeys(types, "VARCHAR"), texts, mistakes)
    return _create_view(source, types, types, parts)


def _parquet_source(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    import pyarrow.parquet

    types: dict[str, str] = {}
    for path in files:
        with database_errors(path):
            described = database.rows(f"DESCRIBE SELECT * FROM {scan_sql([str(path)])}")
        own = {column: kind for column, kind, *_ in described}
        try:  # DuckDB renames the second of two equal names
            _check_names(path, pyarrow.parquet.read_schema(path).names)
        except (pyarrow.ArrowException, OSError, UnicodeError) as error:
            raise DataError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
        types = types or own
        _check_same(path, own, files[0], types)
        for column, kind in own.items():
            if kind != types[column]:
                raise DataError(f"{path}: column {column!r} is {kind}, in {files[0]} it is {types[column]}")
    typed = {column for column, kind in types.items() if _is_known(kind)}
    columns = ", ".join(
        quote_name(column) if column in typed else f"{quote_name(column)}::VARCHAR AS {quote_name(column)}"
        for column in types
    )
    scans = [scan_sql([str(path)], file_row_number=True) for path in files]
    parts = [f"SELECT {columns}, file_row_number + 1 AS {ROW} FROM {scan}" for scan in scans]
    texts = frozenset(column for column, kind in types.items() if kind == "VARCHAR")
    known_types = {column: kind if column in typed else "VARCHAR" for column, kind in types.items()}
    source = Source(database, name, files, table, known_types, texts)
    return _create_view(source, types, {c for c, kind in known_types.items() if kind == "VARCHAR"}, parts)


def _is_known(kind: str) -> bool:
    """Returns True for a type of DuckDB that is read as it is; others are read as text."""
    return kind.endswith("]") or kind.startswith(("DECIMAL", "TIMESTAMP")) or kind in TYPES
