"""DuckDB: reads Parquet, evaluates rules and joins in bounded memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karec.errors import DataError, MissingExtra, one_line

BATCH = 2**17  # rows
SPILL = ".spill-"  # prefix of the temporary folder's name
MEMORY = "1200MB"  # larger data are stored in the folder


class Database:
    """A connection for one thread. Rows keep the order of files, except after a join."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, query: str, parameters: Sequence[Any] = ()) -> None:
        self._connection.execute(query, list(parameters)).fetchall()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return rows

    def batches(self, query: str) -> Iterator[Any]:
        yield from self._connection.sql(query).to_arrow_reader(BATCH)

    @contextmanager
    def table(self, name: str, table: Any) -> Iterator[None]:
        """Registers the pyarrow.Table as table ``name`` during the block."""
        self._connection.register(name, table)
        try:
            yield
        finally:
            self._connection.unregister(name)


@contextmanager
def open_database(folder: Path) -> Iterator[Database]:
    """Opens a database during the block, with its temporary folder in ``folder``. Raises MissingExtra."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra("duckdb", "screening", "screening") from error
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=SPILL) as spill,
        duckdb.connect(":memory:") as connection,
    ):
        for name, value in (
            ("memory_limit", MEMORY),
            ("temp_directory", spill),
            ("threads", len(os.sched_getaffinity(0))),
            ("enable_progress_bar", False),
            ("preserve_insertion_order", True),
        ):
            connection.execute(f"SET {name} = '{value}'")
        yield Database(connection)


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Raises DataError in one line for data that DuckDB cannot read in the block."""
    import duckdb

    try:
        yield
    except (
        duckdb.BinderException,
        duckdb.ParserException,
        duckdb.CatalogException,
        duckdb.InternalException,
    ):
        raise
    except duckdb.Error as error:
        message = str(error).partition("\nLINE ")[0]  # the query follows
        raise DataError(f"{path}: not readable: {one_line(message)}") from error


def quote_name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def scan_sql(paths: Sequence[str]) -> str:
    """Returns a table in SQL: the rows of Parquet files, without columns from the folders' names.

    Parquet's minimum and maximum of a column ignore NaN; with ``can_have_nan`` DuckDB does not rely on them.
    """
    return (
        f"read_parquet([{', '.join(map(quote_text, paths))}], hive_partitioning = false, can_have_nan = true)"
    )
