"""Selects the kept works: the best of each cell, exactly as many as allocated.

Two passes over the days' files, newest day first. The first counts works in the level of each cell's last
kept work by the lower bits of quality, which gives a threshold per cell. The second writes the works above it
and, of those equal to it, as many as needed: newest day first, and within a day in the order of its file.

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
from karec.screening.levels import LOW, Levels, to_order

KEPT_DAY, KEPT_ID, KEPT_QUALITY = "day", "id", "quality"
MADE_OF = b"screening.made_of"  # in the footer


@dataclass(frozen=True, eq=False)
class Window:
    """The days' files, by day, and for each day the bits of the quotas by age of its works."""

    files: Mapping[date, DayFile]
    ages: Mapping[date, int]

    def levels(self) -> Levels:
        parts = [
            Levels(file.levels.cell | self.ages[day], file.levels.level, file.levels.count)
            for day, file in self.files.items()
        ]
        return Levels.from_parts(parts)

    def newest_first(self) -> Iterator[tuple[date, DayFile, NDArray[Any]]]:
        """Yields (day, its file, cells in the window of the file's cell indices)."""
        for day in sorted(self.files, reverse=True):
            yield day, self.files[day], self.files[day].cells | self.ages[day]


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Threshold of each of ``cells (C,)``: works above ``order (C,) int64`` are kept, and ``ties (C,)`` of
    the works equal to it."""

    cells: NDArray[Any]
    order: NDArray[Any]
    ties: NDArray[Any]


def find_thresholds(window: Window, levels: Levels, wanted: NDArray[Any]) -> Thresholds:
    """Returns the thresholds that keep ``wanted (C,)`` works of each of the window's cells."""
    cells = levels.cells
    last_level, n_wanted, is_partial = levels.cut(wanted)
    low_levels = _lower_bits(window, cells, last_level, is_partial)
    order, ties = last_level << LOW, np.zeros(len(cells), np.int64)
    order -= ~is_partial  # the whole level is kept
    if is_partial.any():
        rows = np.flatnonzero(is_partial)
        low, tied, _ = low_levels.cut(n_wanted[rows])
        order[rows] += low
        ties[rows] = tied
    return Thresholds(cells, order, ties)


def _lower_bits(
    window: Window, cells: NDArray[Any], last_level: NDArray[Any], is_partial: NDArray[Any]
) -> Levels:
    """Returns the works at ``last_level`` of partial cells by cell index and lower bits."""
    levels = Levels.from_parts([])
    for _, file, day_cells in window.newest_first():
        cell_index = np.searchsorted(cells, day_cells)
        if not is_partial[cell_index].any():
            continue
        wanted_level = np.where(is_partial[cell_index], last_level[cell_index], -1)
        parts = [levels]
        for batch in file.batches(("cell", "quality")):
            cell, order = batch.column("cell").to_numpy(), to_order(batch.column("quality").to_numpy())
            rows = np.flatnonzero(wanted_level[cell] == order >> LOW)
            parts.append(Levels.from_works(cell_index[cell[rows]], order[rows] & ((1 << LOW) - 1)))
        levels = Levels.from_parts(parts)
    return levels


def write_kept(
    window: Window, limits: Thresholds, path: Path, made_of: str, id_type: Any, check: Callable[[Path], None]
) -> dict[date, int]:
    """Writes Parquet of ``day``, ``id`` and ``quality``. Returns {day: works}. ``check`` reads the file
    before it is published."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(KEPT_DAY, pa.date32()), (KEPT_ID, id_type), (KEPT_QUALITY, pa.float32())], {MADE_OF: made_of}
    )
    ties_left, kept = limits.ties.copy(), {}
    with file_aside(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for day, candidates, day_cells in window.newest_first():
                cell_index = np.searchsorted(limits.cells, day_cells)
                parts = list(_kept_rows(candidates, cell_index, limits.order[cell_index], ties_left))
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
    """Returns (N,) the integer ids in a file of ``write_kept``."""
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(path, columns=[KEPT_ID]).column(0).to_numpy())


def _kept_rows(
    file: DayFile, cell_index: NDArray[Any], order: NDArray[Any], ties_left: NDArray[Any]
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yields (ids, quality) of a day's kept works; ``ties_left``, of all cells, is decreased."""
    import pyarrow as pa

    for batch in file.batches(("id", "cell", "quality")):
        cell, quality = batch.column("cell").to_numpy(), batch.column("quality").to_numpy()
        difference = to_order(quality).astype(np.int64) - order[cell]
        is_kept = difference > 0
        tied = np.flatnonzero(difference == 0)
        if len(tied):
            owner = cell_index[cell[tied]]
            by_owner = np.argsort(owner, kind="stable")
            starts = np.flatnonzero(np.diff(owner[by_owner], prepend=-1))
            run = np.arange(len(by_owner)) - np.repeat(starts, np.diff(np.append(starts, len(by_owner))))
            taken = by_owner[run < ties_left[owner[by_owner]]]
            is_kept[tied[taken]] = True
            np.subtract.at(ties_left, owner[taken], 1)
        yield batch.column("id").filter(pa.array(is_kept)), quality[is_kept]
