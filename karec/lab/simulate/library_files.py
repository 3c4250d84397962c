"""Writes a synthetic library as files for karec screen.

FOLDER/uploads/day=2026-10-01/part-0.parquet …, FOLDER/outcomes/day=…, FOLDER/screen.toml, FOLDER/blocked.txt
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import MissingExtra
from karec.files import file_aside, write_text_aside
from karec.lab.simulate.uploads_library import Library
from karec.times import Progress

SHARD_ROWS = 1_250_000
GROUP_ROWS = 2**17
FIRST_DAY = date(2026, 10, 1)
WORKS_PER_KEPT = 10
TRAINING_FRACTION = 0.4  # of the days
BLOCKED_FRACTION = 0.002  # of the creators


def write_library(
    folder: Path, works: int, days: int, seed: int = 0, progress: Progress | None = None
) -> None:
    """Writes about ``works`` works, evenly over ``days`` days. Raises ValueError if there are too few."""
    if days < 3 or works < days:
        raise ValueError(
            f"works is {works} and days is {days}, expected at least three days and one work per day"
        )
    library = Library(works // days, FIRST_DAY, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(days):
        date_of_day, day = FIRST_DAY + timedelta(number), library.day(number)
        write_day_shards(folder / "uploads", date_of_day, day.columns | {"content_vector": day.vectors})
        outcomes = {
            "work_id": day.columns["work_id"],
            "exposures": day.exposures,
            "long_views": day.long_views,
        }
        write_day_shards(folder / "outcomes", date_of_day, outcomes)
        if progress is not None:
            progress(number + 1, days, "drawing a library, days")
    last_training_day = FIRST_DAY + timedelta(max(round(days * TRAINING_FRACTION), 2) - 1)
    blocked = range(0, len(library.skill), round(1 / BLOCKED_FRACTION))
    write_text_aside(folder / "blocked.txt", "# creators\n" + "".join(f"{creator}\n" for creator in blocked))
    text = files("karec.screening").joinpath("starting.toml").read_text(encoding="utf-8")
    text = text.replace("keep = 100_000", f"keep = {max(works // WORKS_PER_KEPT, 1):_}").replace(
        "2026-10-10", str(last_training_day)
    )
    write_text_aside(folder / "screen.toml", text)


def write_day_shards(
    folder: Path, day: date, columns: Mapping[str, NDArray[Any] | tuple[NDArray[Any], list[str]]]
) -> None:
    """Writes ``folder/day=…/part-N.parquet``.

    A column is an array (N,), a pair of codes and their texts, or (N, D): a list of D numbers per row.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "screen", "writing uploads") from error
    day_folder = folder / f"day={day}"
    day_folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: _arrow(values) for name, values in columns.items()})
    for number, begin in enumerate(range(0, max(len(table), 1), SHARD_ROWS)):
        with file_aside(day_folder / f"part-{number}.parquet") as file:
            part = table.slice(begin, SHARD_ROWS)
            pq.write_table(part, file, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS)


def _arrow(values: NDArray[Any] | tuple[NDArray[Any], list[str]]) -> Any:
    import pyarrow as pa

    if isinstance(values, tuple):
        return pa.DictionaryArray.from_arrays(values[0], values[1]).cast(pa.string())
    if values.ndim == 1:
        return pa.array(values)
    starts = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(starts), pa.array(values.ravel()))
