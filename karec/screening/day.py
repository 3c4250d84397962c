"""Screens one day of uploads: its candidates, and why the other works were rejected.

Memory: DuckDB's, the vectors of one part (at most VECTORS bytes) and about 100 bytes per candidate of the
day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.database import Database, database_errors, quote_name, scan_sql
from karec.errors import DataError
from karec.screening.day_file import DayFacts, write_day
from karec.screening.library import IDS, LISTS, ColumnType, Day
from karec.screening.near_duplicates import near_duplicates
from karec.screening.quality import QualityScorer, score_batches
from karec.screening.quality import needed_columns as scorer_columns
from karec.screening.rules import BlockList, cell_sql, listed_sql, rejection_reasons, without_listed
from karec.screening.rules import needed_columns as rule_columns
from karec.screening.settings import LOW_QUALITY, NO_QUALITY, ScreeningSettings

# columns of a batch
ID, CELL, SONG, VECTOR, LISTED = "karec.id", "karec.cell", "karec.song", "karec.vector", "karec.listed"
# bytes of content vectors in memory at once; songs of a larger day are read in parts
VECTORS = 768 * 2**20


def needed_columns(
    settings: ScreeningSettings, quality: QualityScorer
) -> Iterator[tuple[str, Collection[ColumnType]]]:
    yield settings.columns.work, IDS
    if settings.near_duplicates is not None:
        yield settings.columns.song, IDS
        yield settings.columns.vector, LISTS
    yield from rule_columns(settings)
    yield from scorer_columns(quality.columns)


@dataclass(frozen=True, eq=False)
class _Part:
    """Candidates of some songs; ``ids``: a pyarrow.ChunkedArray."""

    ids: Any
    cell: NDArray[Any]
    quality: NDArray[Any]
    rejected: Mapping[str, int]
    not_compared: int


class DayScreening:
    """Screens one day: rules in DuckDB, quality on ``threads`` threads, near-duplicates within songs."""

    def __init__(
        self,
        database: Database,
        settings: ScreeningSettings,
        day: Day,
        scorer: QualityScorer,
        block_lists: Mapping[str, BlockList],
        threads: int = 1,
    ) -> None:
        self._database, self._settings, self._day = database, settings, day
        self._scorer, self._block_lists, self._threads = scorer, block_lists, threads
        self._table = scan_sql(day.paths)
        self._folder = day.shards[0].path.parent
        self._reasons = rejection_reasons(settings, day.column_types, block_lists)
        self._seen: set[Any] = set()

    def run(self, path: Path, digest: str) -> DayFacts:
        """Writes the candidates to ``path`` in the order of the uploads, part by part."""
        import pyarrow as pa

        with database_errors(self._folder):
            query = f"SELECT {self._reasons.sql} AS reason, count(*) FROM {self._table} GROUP BY 1"
            counts = dict(self._database.rows(query))
            listed = {reason: self._listed(block_list) for reason, block_list in self._block_lists.items()}
            dim, repeated_ids = self._dimension(), self._repeated_ids()
            n_parts = max(-(-counts.get(0, 0) * 2 * dim // VECTORS), 1)
            try:
                parts = [self._part(number, n_parts, dim, repeated_ids) for number in range(n_parts)]
            except VectorLength as error:
                raise DataError(
                    f"{self._folder}: column {self._settings.columns.vector!r}: {error}"
                ) from error
        rejected = Counter({self._reasons.names[code]: n for code, n in counts.items() if code})
        for part in parts:
            rejected.update(part.rejected)
        ids = pa.chunked_array([chunk for part in parts for chunk in part.ids.chunks], parts[0].ids.type)
        cell, quality = (
            np.concatenate([getattr(part, column) for part in parts]) for column in ("cell", "quality")
        )
        if len(ids) + rejected.total() != self._day.rows:
            raise DataError(f"{self._folder} changed while it was read. Screen it again.")
        in_order = {reason: rejected[reason] for reason in self.reasons if rejected[reason]}
        facts = DayFacts(digest, self._day.rows, in_order, sum(part.not_compared for part in parts), listed)
        write_day(path, ids, cell, quality, facts)
        return facts

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons in the order in which a work is checked."""
        return (*self._reasons.names[1:], NO_QUALITY, LOW_QUALITY, "same id", "near duplicate")

    def _listed(self, block_list: BlockList) -> list[int]:
        """Returns the positions in the list of the ids that the uploads have."""
        column = quote_name(block_list.column)
        query = (
            f"SELECT DISTINCT {column} FROM {self._table} WHERE {column} IN (SELECT id FROM "
            f"{block_list.table})"
        )
        position = {value: index for index, value in enumerate(block_list.values)}
        return sorted(position[value] for (value,) in self._database.rows(query))

    def _dimension(self) -> int:
        """Returns the length of content vectors, 0 if works are not compared or have none."""
        if self._settings.near_duplicates is None:
            return 0
        vector = quote_name(self._settings.columns.vector)
        found = self._database.rows(
            f"SELECT len({vector}) FROM {self._table} WHERE len({vector}) > 0 LIMIT 1"
        )
        return int(found[0][0]) if found else 0

    def _repeated_ids(self) -> list[Any]:
        work = quote_name(self._settings.columns.work)
        query = f"SELECT {work} FROM {self._table} WHERE {work} IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        return [value for (value,) in self._database.rows(query)]

    def _part(self, number: int, n_parts: int, dim: int, repeated_ids: list[Any]) -> _Part:
        import pyarrow as pa

        columns, near = self._settings.columns, self._settings.near_duplicates
        song, vector = quote_name(columns.song), quote_name(columns.vector)
        is_integer = self._day.column_types[columns.work] == "integer"
        selected = [
            f"{quote_name(columns.work)}{'::BIGINT' if is_integer else ''} AS {quote_name(ID)}",
            f"{cell_sql([quota.condition for quota in self._settings.quotas])} AS {quote_name(CELL)}",
            *map(quote_name, self._scorer.columns),
        ]
        lists = {f"{LISTED}{n}": block_list for n, block_list in enumerate(self._block_lists.values())}
        selected += [
            f"{listed_sql(block_list)} AS {quote_name(column)}" for column, block_list in lists.items()
        ]
        if dim:
            selected.append(
                f"CASE WHEN {song} IS NULL THEN -1 ELSE (hash({song}) >> 1)::BIGINT END AS {quote_name(SONG)}"
            )
            selected.append(f"{vector} AS {quote_name(VECTOR)}")
        part_filter = f" AND hash({song}) % {n_parts} = {number}" if n_parts > 1 else ""
        rows = CandidateRows(repeated_ids, self._seen, dim, self._settings.quality.min)
        # block lists are applied below: a join in the query would make the order of rows vary
        accepts = rejection_reasons(self._settings, self._day.column_types, {}).sql
        query = f"SELECT {', '.join(selected)} FROM {self._table} WHERE {accepts} = 0{part_filter}"
        batches = (without_listed(batch, lists) for batch in self._database.batches(query))
        for batch, scores in score_batches(self._scorer, batches, self._threads):
            rows.add(batch, scores)
        cell, quality = rows.take_column("cell", np.int64), rows.take_column("quality", np.float32)
        ids = rows.ids(pa.int64() if is_integer else pa.string())
        dropped = np.zeros(len(cell), bool)
        if near is not None and dim:
            songs, vectors = rows.take_column("songs", np.int64), rows.take_column("vectors", np.int8)
            dropped = near_duplicates(songs, vectors.reshape(-1, dim), quality, near.cosine)
        not_compared = len(cell) if near is not None and not dim else rows.not_compared
        counts = {
            NO_QUALITY: rows.no_quality,
            LOW_QUALITY: rows.low_quality,
            "same id": rows.same_id,
            "near duplicate": int(dropped.sum()),
        }
        return _Part(ids.filter(pa.array(~dropped)), cell[~dropped], quality[~dropped], counts, not_compared)


class VectorLength(ValueError):
    """Vectors of a day have different lengths."""


class CandidateRows:
    """Rows in reading order.

    ``repeated_ids``: ids in several rows, of which the first counts. ``seen``: those that were read. Counts
    of rejected rows: ``no_quality``, ``low_quality`` (below ``min_quality``), ``same_id``, ``not_compared``.
    """

    def __init__(
        self, repeated_ids: list[Any], seen: set[Any], dim: int, min_quality: float | None = None
    ) -> None:
        import pyarrow as pa

        self._repeated_ids = pa.array(repeated_ids) if repeated_ids else None
        self._seen = seen
        self._dim = dim
        self._min_quality = -np.inf if min_quality is None else min_quality
        self._ids: list[Any] = []
        self._columns: dict[str, list[NDArray[Any]]] = {"cell": [], "quality": [], "songs": [], "vectors": []}
        self.no_quality = self.low_quality = self.same_id = self.not_compared = 0

    def add(self, batch: Any, quality: NDArray[Any]) -> None:
        """Adds rows of ``batch`` with the columns ID and CELL, and SONG and VECTOR if works are compared.

        Raises VectorLength if vectors have different lengths.
        """
        import pyarrow as pa

        is_kept = np.isfinite(quality)
        self.no_quality += int((~is_kept).sum())
        is_low = is_kept & (quality < self._min_quality)
        self.low_quality += int(is_low.sum())
        is_kept &= ~is_low
        self._drop_repeats(batch.column(ID), is_kept)
        if not is_kept.all():
            batch, quality = batch.filter(pa.array(is_kept)), quality[is_kept]
        self._ids.append(batch.column(ID))
        self._columns["cell"].append(batch.column(CELL).to_numpy(zero_copy_only=False))
        self._columns["quality"].append(quality)
        if self._dim:
            songs = batch.column(SONG).to_numpy(zero_copy_only=False)
            self._columns["songs"].append(songs)
            vectors, has_vector = read_vectors(batch.column(VECTOR), self._dim)
            self.not_compared += int((~has_vector | (songs < 0)).sum())
            self._columns["vectors"].append(vectors)

    def take_column(self, column: str, dtype: Any) -> NDArray[Any]:
        """Returns ``cell``, ``quality``, ``songs`` or ``vectors`` and frees the parts."""
        parts, self._columns[column] = self._columns[column], []
        return np.concatenate(parts) if parts else np.empty(0, dtype)

    def ids(self, dtype: Any) -> Any:
        import pyarrow as pa

        return pa.chunked_array(self._ids, dtype)

    def _drop_repeats(self, ids: Any, is_kept: NDArray[Any]) -> None:
        import pyarrow.compute as pc

        if self._repeated_ids is None:
            return
        repeated = pc.is_in(ids, value_set=self._repeated_ids).to_numpy(zero_copy_only=False) & is_kept
        for row in np.flatnonzero(repeated):
            value = ids[int(row)].as_py()
            if value in self._seen:
                is_kept[row] = False
                self.same_id += 1
            self._seen.add(value)


def read_vectors(cells: Any, dim: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns vectors (N, dim), int8 or float16 of length 1, and (N,) bool: it has a vector.

    A vector that is missing, empty, all zeros or not finite becomes zeros.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = np.asarray(pc.fill_null(cells.value_lengths(), 0).to_numpy(zero_copy_only=False))
    has_vector = lengths > 0
    is_other = lengths[has_vector] != dim
    if is_other.any():
        other_length = int(lengths[has_vector][is_other][0])
        raise VectorLength(f"content vectors have {dim} and {other_length} numbers, expected one length")
    values = cells.flatten()
    if values.null_count:
        values = values.cast(pa.float32()).fill_null(float("nan"))
    rows = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    if rows.dtype != np.int8:
        unit = rows.astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            unit /= np.sqrt(np.einsum("nd,nd->n", unit, unit))[:, None]
        rows = np.where(np.isfinite(unit).all(axis=1)[:, None], unit, 0).astype(np.float16)
    vectors = np.zeros((len(has_vector), dim), rows.dtype)
    vectors[has_vector] = rows
    return vectors, np.asarray(vectors.any(axis=1))
