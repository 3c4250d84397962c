"""Writes uploads and outcomes as Parquet shards in one folder per day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import MissingExtra
from karec.files import file_aside

SHARD_ROWS = 1_250_000
GROUP_ROWS = 2**17


def write_day_shards(
    folder: Path, day: date, columns: Mapping[str, NDArray[Any] | tuple[NDArray[Any], list[str]]]
) -> None:
    """Writes ``folder/day=…/part-N.parquet``.

    A column is an array (N,), a pair of codes and their texts, or (N, D), written as a list of D numbers per
    row.
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
