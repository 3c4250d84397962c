"""The kept works: of each cell the best, exactly as many as were allocated.

Two passes over the days' files, newest day first. The first looks at the levels in which a cell's last kept
work lies, and counts their works by the lower bits of quality; so each cell has a threshold. The second
writes the works above it, and of those that equal it as many as are still wanted: of the newest day, and
within a day in the order of its file.

Cost: O(candidates of the window); memory does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.files import file_aside
from karec.screening.day_file import DayFile
from karec.screening.levels import LOW, Levels, order_of

KEPT_DAY, KEPT_ID, KEPT_QUALITY = "day", "id", "quality"
MADE_OF = b"screening.made_of"  # in the footer


@dataclass(frozen=True, eq=False)
class Window:
    """The days' files, by day, and for each day the bits of the ages that its works are of."""

    files: Mapping[date, DayFile]
    ages: Mapping[date, int]

    def levels(self) -> Levels:
        """Candidates of all days, by cell and level."""
        found = [
            Levels(file.levels.cell | self.ages[day], file.levels.level, file.levels.count)
            for day, file in self.files.items()
        ]
        return Levels.sum_of(found)

    def newest_first(self) -> Iterator[tuple[date, DayFile, NDArray[Any]]]:
        """(day, its file, the cells that its rows' places stand for, in the window)."""
        for day in sorted(self.files, reverse=True):
            yield day, self.files[day], self.files[day].cells | self.ages[day]


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Of each of ``cells (C,)``: works above ``order (C,) int64`` are kept, and ``ties (C,)`` of those equal
    to it."""

    cells: NDArray[Any]
    order: NDArray[Any]
    ties: NDArray[Any]


def thresholds(window: Window, levels: Levels, wanted: NDArray[Any]) -> Thresholds:
    """``wanted (C,)`` works of each of the cells of ``levels``, the window's."""
    cells = levels.cells
    at, need, part = levels.cut(wanted)
    counted = _lower_bits(window, cells, at, part)
    order, ties = at << LOW, np.zeros(len(cells), np.int64)
    order -= ~part  # all of the level: works above what lies before it
    if part.any():
        rows = np.flatnonzero(part)
        low, tied, _ = counted.cut(need[rows])
        order[rows] += low
        ties[rows] = tied
    return Thresholds(cells, order, ties)


def _lower_bits(window: Window, cells: NDArray[Any], at: NDArray[Any], part: NDArray[Any]) -> Levels:
    """Works at level ``at`` of those cells, by place, of which a ``part`` is kept: by the lower bits of
    quality."""
    found = Levels.sum_of([])
    for _, file, of_day in window.newest_first():
        place = np.searchsorted(cells, of_day)
        if not part[place].any():
            continue
        looked = np.where(part[place], at[place], -1)
        held = [found]
        for batch in file.batches(("cell", "quality")):
            cell, order = batch.column("cell").to_numpy(), order_of(batch.column("quality").to_numpy())
            rows = np.flatnonzero(looked[cell] == order >> LOW)
            held.append(Levels.count_of(place[cell[rows]], order[rows] & ((1 << LOW) - 1)))
        found = Levels.sum_of(held)
    return found


def write_kept(
    window: Window, at: Thresholds, path: Path, made_of: str, id_type: Any, check: Callable[[Path], None]
) -> dict[date, int]:
    """Parquet of ``day``, ``id`` and ``quality``; {day: works}. ``check`` reads it before it is put in
    place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(KEPT_DAY, pa.date32()), (KEPT_ID, id_type), (KEPT_QUALITY, pa.float32())], {MADE_OF: made_of}
    )
    left, kept = at.ties.copy(), {}
    with file_aside(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for day, candidates, of_day in window.newest_first():
                place = np.searchsorted(at.cells, of_day)
                parts = list(_kept_of(candidates, place, at.order[place], left))
                n = sum(len(ids) for ids, _ in parts)
                kept[day] = n
                if n:
                    ids, quality = (
                        pa.chunked_array([ids for ids, _ in parts]),
                        np.concatenate([q for _, q in parts]),
                    )
                    days = pa.array(np.full(n, np.datetime64(day)), pa.date32())
                    writer.write_table(pa.table([days, ids, pa.array(quality)], schema))
        file.flush()
        check(Path(file.name))
    return dict(sorted(kept.items()))


def kept_ids(path: Path) -> NDArray[Any]:
    """(N,) the ids of a file of ``write_kept`` whose ids are integers."""
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(path, columns=[KEPT_ID]).column(0).to_numpy())


def _kept_of(
    file: DayFile, place: NDArray[Any], order: NDArray[Any], left: NDArray[Any]
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """(ids, quality) of a day's kept works; ``left``, of all cells, is what is still wanted of ties."""
    import pyarrow as pa

    for batch in file.batches(("id", "cell", "quality")):
        cell, quality = batch.column("cell").to_numpy(), batch.column("quality").to_numpy()
        over = order_of(quality).astype(np.int64) - order[cell]
        keeps = over > 0
        tied = np.flatnonzero(over == 0)
        if len(tied):
            owner = place[cell[tied]]
            by = np.argsort(owner, kind="stable")
            starts = np.flatnonzero(np.diff(owner[by], prepend=-1))
            run = np.arange(len(by)) - np.repeat(starts, np.diff(np.append(starts, len(by))))
            taken = by[run < left[owner[by]]]
            keeps[tied[taken]] = True
            np.subtract.at(left, owner[taken], 1)
        yield batch.column("id").filter(pa.array(keeps)), quality[keeps]
