"""Joins impressions on disk to training rows, for logs that do not fit into memory.

    FOLDER/bucket=7/*.parquet    all impressions of some users, with the columns of ``Impressions``; labels
                                 are columns label_NAME

Any engine can write this. With DuckDB: COPY (SELECT *, hash(user_id) % 64 AS bucket FROM log) TO 'FOLDER'
(FORMAT parquet, PARTITION_BY bucket).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_WORK, CountersOverTime, count_increments
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.features.encoder import Encoder
from karec.logs.parts import arrow_parquet
from karec.samples.examples import Examples, build_examples, refresh_times

LABEL = "label_"  # prefix of columns
COLUMNS = {"user_id": np.int64, "work_id": np.int64, "time_ms": np.int64, "scene": np.int32}
OPTIONAL = {"play_ms": np.int64, "position": np.int16}


def read_bucket(folder: Path, bucket: int) -> Impressions:
    """Returns the impressions of a bucket in order of time. Raises DataError that names a wrong file."""
    arrow, path = arrow_parquet(), folder / f"bucket={bucket}"
    try:
        table = arrow.parquet.read_table(path, partitioning=None)
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing or not any(name.startswith(LABEL) for name in table.column_names):
            raise ValueError(f"its columns are {table.column_names}, expected {[*COLUMNS]} and {LABEL}NAME")
        columns = {name: table[name].to_numpy() for name in table.column_names}
        order = np.argsort(columns["time_ms"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        user_id, work_id, time_ms, scene = (
            columns[name].astype(dtype, casting="safe") for name, dtype in COLUMNS.items()
        )
        labels = {
            name.removeprefix(LABEL): values.astype(np.uint8, casting="same_kind")
            for name, values in columns.items()
            if name.startswith(LABEL)
        }
        play_ms, position = (
            columns[name].astype(dtype, casting="same_kind") if name in columns else None
            for name, dtype in OPTIONAL.items()
        )
    except (arrow.ArrowException, OSError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    return Impressions(user_id, work_id, time_ms, scene, labels, play_ms, position)


def item_counters_by_time(
    buckets: Iterable[Impressions], snapshot: Snapshot, encoder: Encoder, width_ms: int, origin_ms: int
) -> CountersOverTime:
    """Returns the counters of items from the impressions of all ``buckets``, summed in windows of time.

    An event counts from the end of its window [origin + n·width, origin + (n+1)·width) on. At these times the
    counters are exact; in between they are those of the last one. Memory: a bucket, and 4·C + 24 bytes for
    each item and window with an impression.
    """
    counters, n_items = encoder.works.counters, len(snapshot.works)
    keys, sums = np.empty(0, np.int64), np.empty((0, len(counters)), np.int32)
    for part in buckets:
        events = LocatedEvents.from_impressions(snapshot, part)
        windows = (events.time_ms - origin_ms) // width_ms
        all_keys = np.concatenate([keys, windows * n_items + events.work])
        added = np.concatenate([sums, count_increments(events, counters).astype(np.int32)])
        order = np.argsort(all_keys, kind="stable")
        keys, first = np.unique(all_keys[order], return_index=True)
        sums = np.add.reduceat(added[order], first, axis=0) if len(first) else added
    start = BY_WORK.read_snapshot(snapshot, np.arange(n_items), counters).astype(np.float32)
    last_ms = origin_ms + (keys // n_items + 1) * width_ms - 1  # counted strictly before a time
    return CountersOverTime(start, keys % n_items, last_ms, sums)


@dataclass(frozen=True, eq=False)
class ImpressionJoin:
    """Examples of the impressions in ``folder``. Any number of threads may call.

    item_counters   counters of items from all buckets; users need their own bucket only
    refresh_ms      features refresh at the multiples of this after ``origin_ms``. 0: features are as of each
                    row's time, but counters of items as of the last window of ``item_counters``
    """

    folder: Path
    encoder: Encoder
    snapshot: Snapshot
    item_counters: CountersOverTime
    refresh_ms: int
    origin_ms: int

    def rows_of(self, bucket: int) -> tuple[Examples, NDArray[Any]]:
        """Returns the examples of a bucket, and their numbers within it. O(M log M)."""
        rows = read_bucket(self.folder, bucket)
        as_of = rows.time_ms
        if self.refresh_ms:
            times = refresh_times(rows.time_ms, self.refresh_ms, self.origin_ms)
            as_of = np.maximum(times, self.snapshot.time_ms)
        examples = build_examples(self.encoder, self.snapshot, rows, as_of, item_counters=self.item_counters)
        return examples, np.arange(len(rows))
