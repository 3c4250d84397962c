"""DuckDB: reads files, joins and counts in bounded memory, for a user's own data and for screening."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError, MissingExtra, one_line
from karec.pipeline.deadline import usable_cores

BATCH = 2**17  # rows
SPILL = ".spill-"  # prefix of the temporary folder's name
MEMORY = "1200MB"  # larger data are stored in the temporary folder


class Database:
    """A connection for one thread. Rows keep the order of files, except after a join."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, query: str) -> None:
        self._connection.execute(query).fetchall()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return rows

    def count(self, table: str, condition: str = "true") -> int:
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {condition}")[0][0])

    def batches(self, query: str) -> Any:
        """Returns a pyarrow.RecordBatchReader."""
        return self._connection.sql(query).to_arrow_reader(BATCH)

    def arrow(self, query: str) -> dict[str, Any]:
        """Returns the rows as a pyarrow.Array for each column."""
        table = self._connection.sql(query).to_arrow_table()
        return {name: table[name].combine_chunks() for name in table.column_names}

    def arrays(self, query: str) -> dict[str, NDArray[Any]]:
        """Returns the rows as one array for a column. No cell may be NULL."""
        columns = self._connection.sql(query).fetchnumpy()
        return {name: np.asarray(column) for name, column in columns.items()}

    @contextmanager
    def table(self, name: str, table: Any) -> Iterator[None]:
        """Registers ``table``, a pyarrow.Table or {column: array}, as table ``name`` during the block."""
        import pyarrow

        self._connection.register(name, pyarrow.table(table))
        try:
            yield
        finally:
            self._connection.unregister(name)


@contextmanager
def open_database(
    folder: Path | None = None, *, zone: str = "UTC", extra: Literal["data", "screen", "experiments"] = "data"
) -> Iterator[Database]:
    """Opens a database during the block.

    Args:
        folder: Where its temporary folder is. None is the temporary folder of the system.
        zone: The zone of times that name none.
        extra: The extra of karec that MissingExtra names.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra("duckdb", extra, "reading data with DuckDB") from error
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=SPILL) as spill,
        duckdb.connect(":memory:") as connection,
    ):
        for name, value in (
            ("memory_limit", MEMORY),
            ("temp_directory", spill),
            ("threads", usable_cores()),
            ("TimeZone", zone),
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
        message = str(error).partition("\n")[0].rpartition("Error: ")[2]  # the query and its options follow
        raise DataError(f"{path} cannot be read: {one_line(message)}") from error


def quote_name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def quote_text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def scan_sql(paths: Sequence[str], *, file_row_number: bool = False, union_by_name: bool = False) -> str:
    """Returns a table in SQL: the rows of Parquet files, without columns from the folders' names.

    With ``union_by_name`` a file may lack columns, which are NULL then. Parquet's minimum and maximum of a
    column ignore NaN; with ``can_have_nan`` DuckDB does not rely on them.
    """
    return (
        f"read_parquet([{', '.join(map(quote_text, paths))}], hive_partitioning = false, "
        f"can_have_nan = true, file_row_number = {file_row_number}, union_by_name = {union_by_name})"
    )
