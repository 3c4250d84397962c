"""CSV, JSONL and Parquet files as one table: a path, a glob or a folder, read in columns, in bounded memory,
by DuckDB.

Cells of CSV and JSONL are text until ``kinds.py`` says what they are, so that no column changes its type by
its first rows. Lines that cannot be split into cells are kept aside, with their places.
"""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.data.contract import Files
from karec.data.database import Database, database_errors, quote_name, quote_text
from karec.data.lines import count_lines, open_file
from karec.data.places import lines_at, lines_of_rows, opened
from karec.errors import DataError, nearest

FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".dat": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FORMATS |= {".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
DELIMITERS = ",\t;|"
ROW, FILE_NUMBER = "__row", "__file"
RESERVED = {ROW, FILE_NUMBER, "file_row_number"}  # names that files cannot use: the last is DuckDB's, for ROW
LOOKED_AT = 20_000  # rows that tell what a column holds
LONGEST_LINE = 16 * 2**20  # bytes
SHOWN = 400  # characters of a list of columns, in an error
KNOWN_TYPES = {"VARCHAR", "BOOLEAN", "DATE", "DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
KNOWN_TYPES |= {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
MISSING = "'', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None', '\\N'"
OFFSET = 2**40  # FILE_NUMBER · OFFSET + ROW is one integer


@dataclass(frozen=True)
class Source:
    """A view of the database called ``name``: the files' columns, ROW (1 is the file's first) and
    FILE_NUMBER. Texts have no spaces around them, and are NULL where they are one of MISSING.

    ``types`` are DuckDB's, by column; text for CSV and JSONL. ``find_broken`` are queries for (file number,
    byte, what is wrong) of lines that cannot be split into cells; they know after the view was read to its
    end. ``wrong`` is a view of FILE_NUMBER, ROW and why, of rows that the view lacks; "" where it lacks none.
    ``texts``: columns of which the files themselves say that they hold texts.
    """

    name: str
    files: tuple[Path, ...]
    format: str
    types: dict[str, str]
    find_broken: tuple[str, ...] = ()
    encoding: str = "utf-8"
    wrong: str = ""
    quoted: bool = True
    texts: frozenset[str] = frozenset()

    @property
    def columns(self) -> list[str]:
        return list(self.types)

    def column(self, name: str, what: str) -> str:
        """``name``, quoted for SQL. DataError naming the nearest column where there is none; ``what`` asks
        for it."""
        if name not in self.types:
            known = f"columns are {self.columns}"
            known = known if len(known) <= SHOWN else f"{known[:SHOWN]}…"
            raise DataError(
                f"{self.files[0]}: {what}: no column {name!r}{nearest(name, self.types)}; {known}"
            )
        return quote_name(name)

    def broken(self, database: Database) -> list[tuple[int, int, str]]:
        """(file number, line, what is wrong), sorted."""
        rows = [row for query in self.find_broken for row in database.rows(query)]
        found = []
        for number in {row[0] for row in rows}:
            here = [(position, why) for of_file, position, why in rows if of_file == number]
            lines = lines_at(self.files[number], {position for position, _ in here})
            found += [(number, lines[position], why) for position, why in here]
        return sorted(found)

    def places(self, rows: Collection[tuple[int, int]], broken: list[tuple[int, int, str]]) -> dict[Any, str]:
        """{(file number, row): "FILE:LINE"}; ``broken`` are the source's."""
        found = {}
        for number in {number for number, _ in rows}:
            path, here = self.files[number], [row for of_file, row in rows if of_file == number]
            lines: dict[int, int] = {}
            if self.format != "parquet" and self.encoding != "utf-16":
                passed = {line for of_file, line, _ in broken if of_file == number}
                of_csv = self.format == "csv"
                lines = lines_of_rows(path, here, 0 if of_csv else 1, passed, of_csv, of_csv and self.quoted)
            for row in here:
                found[number, row] = (
                    f"{path.name}:{lines[row]}" if row in lines else f"{path.name}: row {row}"
                )
        return found


def _cells(texts: Collection[str], names: Sequence[str], rows: str) -> str:
    """``names``, ROW and FILE_NUMBER of ``rows``, whose columns ``texts`` are cleaned; one pass over each
    cell."""
    trimmed = ", ".join(f"trim({quote_name(each)}) AS {quote_name(each)}" for each in texts)
    cleaned = ", ".join(
        f"CASE WHEN {quote_name(each)} IN ({MISSING}) THEN NULL ELSE {quote_name(each)} END "
        f"AS {quote_name(each)}"
        if each in texts
        else quote_name(each)
        for each in names
    )
    inner = f"SELECT * REPLACE ({trimmed}) FROM ({rows})" if trimmed else rows
    return f"SELECT {cleaned}, {ROW}, {FILE_NUMBER} FROM ({inner})"


def files_of(table: Files, folder: Path) -> tuple[Path, ...]:
    """The files that ``table.path`` names, sorted. DataError where it names none, or what is no regular
    file."""
    path = folder / table.path
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if suffix_of(p) in FORMATS and p.is_file())
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise DataError(
            f"{path} names no file: a file, a folder or a glob of {', '.join(sorted(FORMATS))} is wanted"
        )
    for each in found:
        if not each.is_file():
            raise DataError(f"{each} is no regular file: write what it gives into a file")
        if each.stat().st_size == 0:
            raise DataError(
                f"{each} is empty: a header and rows are wanted; take it away if there is nothing to say"
            )
    formats = {format_of(each) for each in found}
    if len(formats) > 1:
        raise DataError(
            f"{path} names files of several formats, {', '.join(sorted(formats))}: a table has one"
        )
    return tuple(found)


def suffix_of(path: Path) -> str:
    """The ending that tells the format: what stands before .gz."""
    return (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()


def format_of(path: Path) -> str:
    found = FORMATS.get(suffix_of(path))
    if found is None:
        raise DataError(
            f"{path}: what format it has is told by its ending; known are {', '.join(sorted(FORMATS))}"
        )
    return found


def open_source(
    database: Database, name: str, table: Files, folder: Path, more: Sequence[Path] = (), strict: bool = False
) -> Source:
    """``table``'s files, and ``more`` with the same columns, as the view ``name`` of the database.
    ``strict``: files of text are whole lines. DataError naming file and column, and what to do.
    """
    files = (*files_of(table, folder), *more)
    for path in files if strict else ():
        if format_of(path) != "parquet":
            with open_file(path, "a file of rows") as file:
                of_csv = format_of(path) == "csv"
                if count_lines(file, path, table.encoding, of_csv and table.quoted) < 1 + of_csv:
                    raise DataError(f"{path} holds no row: a strict data.toml has rows in each file")
    readers = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
    with database_errors(files[0]):
        return readers[format_of(files[0])](database, name, table, files)


def header_of(path: Path, table: Files) -> tuple[list[str], str]:
    """(column names, delimiter) of a CSV file. The delimiter is the one of DELIMITERS that line 1 holds most
    often."""
    try:
        with opened(path) as file:
            if table.encoding == "utf-16":
                with io.TextIOWrapper(file, encoding="utf-16", newline="") as lines:
                    first = lines.readline(LONGEST_LINE)
            else:
                first = file.readline(LONGEST_LINE).decode(
                    "utf-8-sig" if table.encoding == "utf-8" else "latin-1"
                )
        delimiter = table.delimiter or max(DELIMITERS, key=first.count)
        dialect = csv.excel if table.quoted else _Unquoted
        names = next(csv.reader([first], dialect, delimiter=delimiter), [])
    except (UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path}: line 1: the header cannot be read as {table.encoding} text: {error}"
        ) from error
    if len(first) == LONGEST_LINE:
        raise DataError(
            f"{path}: line 1 has {LONGEST_LINE:,} characters and more: that is no header of a table"
        )
    _check_names(path, names)
    return names, delimiter


class _Unquoted(csv.excel):
    quoting = csv.QUOTE_NONE


def _check_names(path: Path, names: Sequence[str], place: str = "line 1: ") -> None:
    if not any(names):
        raise DataError(f"{path}: {place}a header with the columns' names is wanted")
    folded: dict[str, int] = {}  # DuckDB reads names without regard to case
    for at, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{path}: {place}column {at + 1} has no name: give it one")
        if name in names[:at]:
            raise DataError(
                f"{path}: {place}the column {name!r} is named twice: give one of them another name"
            )
        if name.lower() in folded:
            one = names[folded[name.lower()]]
            raise DataError(
                f"{path}: {place}the columns {one!r} and {name!r} differ in upper and lower case alone: give "
                "one of them another name"
            )
        if name.lower() in RESERVED:
            raise DataError(f"{path}: {place}a column cannot be called {name!r}: give it another name")
        folded[name.lower()] = at


def _same_columns(path: Path, names: Sequence[str], first: Path, expected: Sequence[str]) -> None:
    if sorted(names) != sorted(expected):
        raise DataError(
            f"{path} has the columns {list(names)}, {first} has {list(expected)}; files of a table have the "
            f"same"
        )


def _scan(path: Path, rejects: str, columns: Sequence[str], options: str, table: Files) -> str:
    """read_csv that keeps aside, in rejects_…, what it cannot split."""
    listed = ", ".join(f"{quote_text(each)}: 'VARCHAR'" for each in columns)
    return (
        f"read_csv({quote_text(path)}, auto_detect = false, {options}, columns = {{{listed}}}, "
        f"encoding = {quote_text(table.encoding)}, max_line_size = {LONGEST_LINE}, store_rejects = true, "
        f"rejects_table = 'rejects_{rejects}', rejects_scan = 'scan_{rejects}')"
    )


def _rejected(number: int, rejects: str) -> str:
    why = "replace(lower(any_value(error_type::VARCHAR)), '_', ' ')"
    says = f"CASE {why} WHEN 'invalid encoding' THEN 'not UTF-8: write it so, or say encoding' ELSE {why} END"
    return (
        f"SELECT {number}, line_byte_position::BIGINT, {says} FROM rejects_{rejects} GROUP BY "
        f"line_byte_position"
    )


def _csv(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    names, _ = header_of(files[0], table)
    parts, broken = [], []
    for number, path in enumerate(files):
        own, delimiter = header_of(path, table)
        _same_columns(path, own, files[0], names)
        quote = quote_text('"' if table.quoted else "")
        options = f"delim = {quote_text(delimiter)}, quote = {quote}, escape = {quote}, header = true"
        rows = (
            f"SELECT *, row_number() OVER () AS {ROW}, {number} AS {FILE_NUMBER} "
            f"FROM {_scan(path, f'{name}_{number}', own, options, table)}"
        )
        parts.append(_cells(names, names, rows))
        broken.append(_rejected(number, f"{name}_{number}"))
    database.run(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(parts)}")
    return Source(
        name,
        files,
        "csv",
        dict.fromkeys(names, "VARCHAR"),
        tuple(broken),
        table.encoding,
        quoted=table.quoted,
    )


def _jsonl(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    good = "CASE WHEN json_valid(l) THEN json_type(l) = 'OBJECT' ELSE false END"
    options = "header = false, delim = '\x01', quote = '', escape = ''"
    rows = [
        f"(SELECT l, row_number() OVER () AS {ROW} FROM "
        f"{_scan(path, f'{name}_{number}', ['l'], options, table)})"
        for number, path in enumerate(files)
    ]
    names = _json_names(database, files, [f"(SELECT l FROM {lines} WHERE {good})" for lines in rows])
    cells = ", ".join(
        f"l ->> {quote_text('$.' + json.dumps(each, ensure_ascii=False))} AS {quote_name(each)}"
        for each in names
    )
    parts = [
        _cells(names, names, f"SELECT {cells}, {ROW}, {number} AS {FILE_NUMBER} FROM {lines} WHERE {good}")
        for number, lines in enumerate(rows)
    ]
    wrong = [
        f"SELECT {number} AS {FILE_NUMBER}, {ROW}, 'not a JSON object' AS why FROM {lines} "
        f"WHERE NOT ({good}) AND trim(l) <> ''"
        for number, lines in enumerate(rows)
    ]
    database.run(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(parts)}")
    database.run(f"CREATE TEMP VIEW {name}_wrong AS {' UNION ALL '.join(wrong)}")
    broken = tuple(_rejected(number, f"{name}_{number}") for number in range(len(files)))
    types = dict.fromkeys(names, "VARCHAR")
    texts = _json_texts(database, names, f"(SELECT l FROM {rows[0]} WHERE {good} LIMIT {LOOKED_AT})")
    return Source(name, files, "jsonl", types, broken, table.encoding, f"{name}_wrong", texts=texts)


def _json_texts(database: Database, names: Sequence[str], objects: str) -> frozenset[str]:
    """Those of ``names`` that are a text in some of the ``objects``."""
    paths = (quote_text("$." + json.dumps(each, ensure_ascii=False)) for each in names)
    is_text = ", ".join(f"coalesce(bool_or(json_type(l, {path}) = 'VARCHAR'), false)" for path in paths)
    found = database.rows(f"SELECT {is_text} FROM {objects}")[0]
    return frozenset(name for name, is_one in zip(names, found, strict=True) if is_one)


def _json_names(database: Database, files: tuple[Path, ...], objects: list[str]) -> list[str]:
    """Every key of the files' objects: in the order in which the first object has them, then the others',
    sorted."""
    names: dict[str, None] = {}
    for path, lines in zip(files, objects, strict=True):
        for first in database.rows(f"SELECT json_keys(l) FROM {lines} LIMIT 1"):
            _check_names(path, first[0], "")
            names |= dict.fromkeys(first[0])
        every = database.rows(f"SELECT DISTINCT unnest(json_keys(l)) FROM {lines} ORDER BY 1")
        names |= dict.fromkeys(row[0] for row in every)
    if not names:
        raise DataError(f"{files[0]}: no line is a JSON object: one object a line is wanted")
    _check_names(files[0], list(names), "")
    return list(names)


def _parquet(database: Database, name: str, table: Files, files: tuple[Path, ...]) -> Source:
    parts: list[str] = []
    types: dict[str, str] = {}
    for number, path in enumerate(files):
        with database_errors(path):
            described = database.rows(f"DESCRIBE SELECT * FROM read_parquet({quote_text(path)})")
        own = {column: kind for column, kind, *_ in described}
        _check_names(path, _parquet_names(path), "")
        types = types or own
        _same_columns(path, list(own), files[0], list(types))
        for column, kind in own.items():
            if kind != types[column]:
                raise DataError(f"{path}: column {column!r} is {kind}, in {files[0]} it is {types[column]}")
        rows = (
            f"SELECT {', '.join(_parquet_cell(*each) for each in types.items())}, file_row_number + 1 AS "
            f"{ROW}, {number} AS {FILE_NUMBER} FROM read_parquet({quote_text(path)}, file_row_number = true)"
        )
        texts = [column for column, kind in types.items() if kind == "VARCHAR" or not _is_known(kind)]
        parts.append(_cells(texts, list(types), rows))
    database.run(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(parts)}")
    written = frozenset(column for column, kind in types.items() if kind == "VARCHAR")
    types = {column: kind if _is_known(kind) else "VARCHAR" for column, kind in types.items()}
    return Source(name, files, "parquet", types, texts=written)


def _parquet_names(path: Path) -> list[str]:
    """As the file has them: DuckDB gives the second of two equal ones another name."""
    import pyarrow.parquet

    try:
        names: list[str] = pyarrow.parquet.read_schema(path).names
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        raise DataError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    return names


def _parquet_cell(column: str, kind: str) -> str:
    return quote_name(column) if _is_known(kind) else f"{quote_name(column)}::VARCHAR AS {quote_name(column)}"


def _is_known(kind: str) -> bool:
    """Of DuckDB's types: those that are read as they are; others are read as text."""
    return kind.endswith("]") or kind.startswith(("DECIMAL", "TIMESTAMP")) or kind in KNOWN_TYPES
