"""DuckDB: reads Parquet, evaluates rules, joins; out of core, in a folder of its own, in bounded memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karec.errors import DataError, MissingExtra, one_line

BATCH = 2**17  # rows
SPILL = ".spill-"  # how the name of that folder begins
MEMORY = "1200MB"  # what does not fit lies in the folder


class Database:
    """One thread uses it. Rows come in the order of files and of rows in them, but from a query with a
    join."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, query: str, parameters: Sequence[Any] = ()) -> None:
        self._connection.execute(query, list(parameters)).fetchall()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return found

    def batches(self, query: str) -> Iterator[Any]:
        """pyarrow.RecordBatch by RecordBatch."""
        yield from self._connection.sql(query).to_arrow_reader(BATCH)

    @contextmanager
    def table(self, name: str, table: Any) -> Iterator[None]:
        """Within the block, the pyarrow.Table is the table ``name``."""
        self._connection.register(name, table)
        try:
            yield
        finally:
            self._connection.unregister(name)


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """What does not fit into memory lies in a folder in ``folder``, while the block runs. MissingExtra."""
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
def told(what: Path) -> Iterator[None]:
    """What DuckDB cannot read, in the block, is a DataError of one line; it names the file where DuckDB
    does."""
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
        said = str(error).partition("\nLINE ")[0]  # then comes the query
        raise DataError(f"{what} cannot be read: {one_line(said)}") from error


def name(column: str) -> str:
    """A column in SQL."""
    return '"' + column.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def scan(paths: Sequence[str]) -> str:
    """A table in SQL: the rows of Parquet files, without columns made of the folders' names.

    Parquet's least and most of a column leave NaN out; ``can_have_nan`` keeps DuckDB from believing that
    there is none.
    """
    return f"read_parquet([{', '.join(map(text, paths))}], hive_partitioning = false, can_have_nan = true)"
