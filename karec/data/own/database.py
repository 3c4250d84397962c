"""The database that reads and joins: DuckDB, in a folder of its own, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karec.errors import DataError, MissingExtra

MEMORY = "1GB"  # what does not fit lies in the database's folder


class Database:
    """One thread uses it. Queries are read to their end."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is empty. MissingExtra where DuckDB is not installed."""
        try:
            import duckdb
        except ImportError as error:
            raise MissingExtra("duckdb", "data", "reading data of one's own") from error
        self._connection = duckdb.connect(str(folder / "import.duckdb"))
        self.run(f"SET memory_limit = '{MEMORY}'")
        self.run("SET TimeZone = 'UTC'")
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

    def replace(self, table: str, query: str) -> None:
        """``table`` becomes what ``query``, which may read it, selects."""
        self.run(f"CREATE TABLE replacing AS {query}")
        self.run(f"DROP TABLE IF EXISTS {table}")
        self.run(f"ALTER TABLE replacing RENAME TO {table}")

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
    """What DuckDB refuses while the block reads ``path`` is told as a DataError of one line."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise DataError(f"{path}: {' '.join(str(error).split())[:300]}") from error
