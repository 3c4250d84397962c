"""Writes encoded training rows by day and bucket of users. A killed job continues with the parts it lacks.

A bucket has all impressions of its users, so histories and counters of users need no other bucket. Counters
of items come from all users: they are computed once, by time (``item_counters_by_time``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.samples.examples import Examples
from karec.samples.row_files import PartHead, RowsManifest, check_part, write_part
from karec.times import DAY_MS, Progress

BucketRows = Callable[[int], tuple[Examples, NDArray[Any]]]
"""Returns the examples of a bucket of users, and (M,) their numbers in the log."""


def user_buckets(user_id: NDArray[Any], n_buckets: int) -> NDArray[Any]:
    """Returns (M,) int64, the bucket of each user, by SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    x = np.asarray(user_id, np.int64).view(np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x % np.uint64(n_buckets)).astype(np.int64)


def days_of(time_ms: NDArray[Any]) -> tuple[str, ...]:
    """Returns the days (UTC) of ``time_ms`` (M,), YYYY-MM-DD, ascending."""
    return tuple(np.unique(np.asarray(time_ms) // DAY_MS).astype("datetime64[D]").astype(str).tolist())


def write_rows(
    folder: Path,
    manifest: RowsManifest,
    rows_of: BucketRows,
    *,
    worker: int = 0,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> int:
    """Writes the parts of buckets ``worker``, ``worker + n_workers``, …; returns the number of new parts.

    Workers need nothing of each other. Finished parts are checked and kept. Memory: the examples of one
    bucket, and the inputs of one row group. ``rows_of`` is called for a bucket with a missing part only.
    Raises DataError, before a part is written, for a finished part that is damaged or of another manifest.
    """
    missing: dict[int, list[PartHead]] = {}
    for part in (part for part in manifest.parts if part.bucket % n_workers == worker):
        if part.path(folder).exists():
            check_part(folder, part)
        else:
            missing.setdefault(part.bucket, []).append(part)
    n_missing, n_written = sum(map(len, missing.values())), 0
    for bucket, parts in missing.items():
        examples, numbers = rows_of(bucket)
        day_of_row = (examples.exposures.time_ms // DAY_MS).astype("datetime64[D]")
        for part in parts:
            rows = np.flatnonzero(day_of_row == np.datetime64(part.day))
            write_part(folder, part, examples.take(rows), numbers[rows])
            n_written += 1
            if progress is not None:
                progress(n_written, n_missing, "writing training rows")
    return n_written
