"""Selects the kept works: the best of each cell, exactly as many as allocated.

All candidates are counted by cell and level. The allocation then gives the level of each cell's last kept
work. All works above this level are kept, and of the works at it those of the best quality. Of equal
quality the newest day is first, and within a day the order of its file.

Cost: three passes over the candidates of the window in DuckDB, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.database import Database, scan_sql
from karec.files import file_aside
from karec.screening.levels import Levels

KEPT_DAY, KEPT_ID, KEPT_QUALITY = "day", "id", "quality"
MADE_OF = b"screening.made_of"  # in the footer


@dataclass(frozen=True, eq=False)
class Window:
    """The file of each day, and for each day the bits of the quotas by age of its works."""

    files: Mapping[date, Path]
    ages: Mapping[date, int]

    @property
    def candidates(self) -> str:
        """SQL of all candidates, the newest day first."""
        return " UNION ALL ".join(
            f"SELECT DATE '{day}' AS day, file_row_number AS row, id, cell | {self.ages[day]} AS cell, "
            f"level, quality FROM {scan_sql([str(self.files[day])], file_row_number=True)}"
            for day in sorted(self.files, reverse=True)
        )


def count_levels(database: Database, window: Window) -> Levels:
    """Returns the numbers of the window's candidates by cell and level."""
    query = f"SELECT cell, level::BIGINT AS level, count(*) AS count FROM ({window.candidates}) GROUP BY ALL"
    return Levels(**database.arrays(f"{query} ORDER BY cell, level"))


def write_kept(
    database: Database,
    window: Window,
    levels: Levels,
    wanted: NDArray[Any],
    path: Path,
    *,
    made_of: str,
    check: Callable[[Path], None],
) -> dict[date, int]:
    """Writes Parquet of ``day``, ``id`` and ``quality`` of the ``wanted (C,)`` best works of each cell.

    Returns {day: works}. ``check`` reads the file before it is published.
    """
    import pyarrow.parquet as pq

    last_level, n_last = levels.cut(wanted)
    by_cell = f"FROM ({window.candidates}) JOIN cuts USING (cell)"
    query = (
        f"SELECT day, row, id, quality {by_cell} WHERE level > last_level UNION ALL "
        f"SELECT day, row, id, quality {by_cell} WHERE level = last_level QUALIFY row_number() OVER "
        "(PARTITION BY cell ORDER BY quality DESC, day DESC, row) <= n_last"
    )
    query = (
        f"SELECT day AS {KEPT_DAY}, id AS {KEPT_ID}, quality AS {KEPT_QUALITY} FROM ({query}) "
        "ORDER BY day DESC, row"
    )
    kept = dict.fromkeys(sorted(window.files), 0)
    cuts = {"cell": levels.cells, "last_level": last_level, "n_last": n_last}
    with database.table("cuts", cuts), file_aside(path) as file:
        batches = database.batches(query)
        schema = batches.schema.with_metadata({MADE_OF: made_of})
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                for entry in batch.column(KEPT_DAY).value_counts().to_pylist():
                    kept[entry["values"]] += entry["counts"]
                writer.write_batch(batch)
        file.flush()
        check(Path(file.name))
    return kept


def kept_ids(path: Path) -> NDArray[Any]:
    """Returns (N,) the integer ids in a file of ``write_kept``."""
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(path, columns=[KEPT_ID]).column(0).to_numpy())
