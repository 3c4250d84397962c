"""The database that reads and joins: DuckDB, in a folder of its own, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError, MissingExtra

BATCH = 2**20  # rows
MEMORY = "1400MB"  # what does not fit lies in the database's folder


class Database:
    """One thread uses it. Queries are read to their end."""

    def __init__(self, folder: Path, zone: str = "UTC") -> None:
        """``folder`` is empty; times that name no zone are of ``zone``. MissingExtra where DuckDB is not
        installed."""
        try:
            import duckdb
        except ImportError as error:
            raise MissingExtra("duckdb", "data", "reading data of one's own") from error
        self._connection = duckdb.connect(str(folder / "import.duckdb"))
        self.run(f"SET memory_limit = '{MEMORY}'")
        self.run(f"SET TimeZone = '{zone}'")
        self.run("SET enable_progress_bar = false")
        self.run("SET preserve_insertion_order = true")

    def run(self, query: str) -> None:
        self._connection.execute(query).fetchall()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return found

    def count(self, table: str, condition: str = "true") -> int:
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {condition}")[0][0])

    def arrow(self, query: str) -> Any:
        """The rows as a pyarrow.Table."""
        return self._connection.sql(query).to_arrow_table()

    def columns(self, table: str) -> list[str]:
        return [row[0] for row in self.rows(f"DESCRIBE {table}")]

    def arrays(self, query: str, n: int) -> dict[str, NDArray[Any]]:
        """The ``n`` rows that ``query`` gives, none of whose cells is NULL, as an array a column."""
        reader = self._connection.sql(query).to_arrow_reader(BATCH)
        found = {field.name: np.empty(n, field.type.to_pandas_dtype()) for field in reader.schema}
        at = 0
        for batch in reader:
            for name, column in zip(found, batch.columns, strict=True):
                found[name][at : at + len(batch)] = column.to_numpy(zero_copy_only=False)
            at += len(batch)
        return found

    @contextmanager
    def table(self, name: str, **columns: Any) -> Iterator[None]:
        """Within the block, the arrays ``columns`` are the table ``name``."""
        import pyarrow

        self._connection.register(name, pyarrow.table(columns))
        try:
            yield
        finally:
            self._connection.unregister(name)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What DuckDB cannot read of ``path`` and other files of its table, in the block, is a DataError of one
    line."""
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
        first = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {first.partition('Error: ')[2] or first}") from error
