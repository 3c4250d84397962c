"""One day's uploads → its candidates, and why the others were rejected.

Memory: DuckDB's, one part's vectors (VECTORS bytes at most) and some 100 bytes a candidate of the day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.screening.candidates import CELL, ID, LISTED, SONG, VECTOR, Gathered, VectorLength
from karec.screening.database import Database, name, scan, told
from karec.screening.day_file import DayFacts, write_day
from karec.screening.library import IDS, LISTS, Day, Kind
from karec.screening.near_duplicates import near_duplicates
from karec.screening.quality import Judge, scored
from karec.screening.quality import needed as needed_by_quality
from karec.screening.rules import Blocked, cell_sql, listed_sql, reasons, without_listed
from karec.screening.rules import needed as needed_by_rules
from karec.screening.settings import Settings

# bytes of content vectors that are held at once: songs of a larger day are read in parts
VECTORS = 768 * 2**20


def needed(settings: Settings, quality: Judge) -> Iterator[tuple[str, Collection[Kind]]]:
    """(column, kinds that screening can read)."""
    yield settings.columns.work, IDS
    if settings.near_duplicates is not None:
        yield settings.columns.song, IDS
        yield settings.columns.vector, LISTS
    yield from needed_by_rules(settings)
    yield from needed_by_quality(quality.columns)


@dataclass(frozen=True, eq=False)
class _Part:
    """Candidates of some songs; ``ids``: a pyarrow.ChunkedArray."""

    ids: Any
    cell: NDArray[Any]
    quality: NDArray[Any]
    rejected: Mapping[str, int]
    not_compared: int


class DayScreening:
    """Screens one day: rules in DuckDB, quality on ``threads``, near-duplicates within songs."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        day: Day,
        quality: Judge,
        blocked: Mapping[str, Blocked],
        threads: int = 1,
    ) -> None:
        self._database, self._settings, self._day = database, settings, day
        self._quality, self._blocked, self._threads = quality, blocked, threads
        self._table = scan(day.paths)
        self._folder = day.shards[0].path.parent
        self._why = reasons(settings, day.kinds, blocked)
        self._seen: set[Any] = set()

    def run(self, path: Path, made_of: str) -> DayFacts:
        """Writes the candidates to ``path``, in the order of the uploads; of a day in parts, part by part."""
        import pyarrow as pa

        with told(self._folder):
            query = f"SELECT {self._why.sql} AS reason, count(*) FROM {self._table} GROUP BY 1"
            counts = dict(self._database.rows(query))
            listed = {reason: self._listed(each) for reason, each in self._blocked.items()}
            dim, twice = self._dimension(), self._ids_of_several_rows()
            n_parts = max(-(-counts.get(0, 0) * 2 * dim // VECTORS), 1)
            try:
                parts = [self._part(number, n_parts, dim, twice) for number in range(n_parts)]
            except VectorLength as error:
                raise DataError(
                    f"{self._folder}: column {self._settings.columns.vector!r}: {error}"
                ) from error
        rejected = Counter({self._why.names[code]: n for code, n in counts.items() if code})
        for part in parts:
            rejected.update(part.rejected)
        ids = pa.chunked_array([chunk for part in parts for chunk in part.ids.chunks], parts[0].ids.type)
        cell, quality = (
            np.concatenate([getattr(part, what) for part in parts]) for what in ("cell", "quality")
        )
        if len(ids) + rejected.total() != self._day.rows:
            raise DataError(f"{self._folder} changed while it was read: screen it again")
        in_order = {reason: rejected[reason] for reason in self.reasons if rejected[reason]}
        facts = DayFacts(made_of, self._day.rows, in_order, sum(part.not_compared for part in parts), listed)
        write_day(path, ids, cell, quality, facts)
        return facts

    @property
    def reasons(self) -> tuple[str, ...]:
        """In the order in which a work meets them."""
        return (*self._why.names[1:], "no quality", "same id", "near duplicate")

    def _listed(self, blocked: Blocked) -> list[int]:
        """Places of the list whose ids the uploads hold."""
        column = name(blocked.column)
        query = (
            f"SELECT DISTINCT {column} FROM {self._table} WHERE {column} IN (SELECT id FROM {blocked.table})"
        )
        place = {value: at for at, value in enumerate(blocked.values)}
        return sorted(place[value] for (value,) in self._database.rows(query))

    def _dimension(self) -> int:
        """Numbers of a content vector, 0 where works are not compared or have none."""
        if self._settings.near_duplicates is None:
            return 0
        vector = name(self._settings.columns.vector)
        found = self._database.rows(
            f"SELECT len({vector}) FROM {self._table} WHERE len({vector}) > 0 LIMIT 1"
        )
        return int(found[0][0]) if found else 0

    def _ids_of_several_rows(self) -> list[Any]:
        work = name(self._settings.columns.work)
        query = f"SELECT {work} FROM {self._table} WHERE {work} IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        return [value for (value,) in self._database.rows(query)]

    def _part(self, number: int, of: int, dim: int, twice: list[Any]) -> _Part:
        import pyarrow as pa

        columns, near = self._settings.columns, self._settings.near_duplicates
        song, vector = name(columns.song), name(columns.vector)
        is_integer = self._day.kinds[columns.work] == "integer"
        wanted = [
            f"{name(columns.work)}{'::BIGINT' if is_integer else ''} AS {name(ID)}",
            f"{cell_sql([quota.condition for quota in self._settings.quotas])} AS {name(CELL)}",
            *map(name, self._quality.columns),
        ]
        lists = {f"{LISTED}{at}": each for at, each in enumerate(self._blocked.values())}
        wanted += [f"{listed_sql(each)} AS {name(column)}" for column, each in lists.items()]
        if dim:
            wanted.append(
                f"CASE WHEN {song} IS NULL THEN -1 ELSE (hash({song}) >> 1)::BIGINT END AS {name(SONG)}"
            )
            wanted.append(f"{vector} AS {name(VECTOR)}")
        mine = f" AND hash({song}) % {of} = {number}" if of > 1 else ""
        gathered = Gathered(twice, self._seen, dim)
        # lists are looked up here: a join in the query would change the order of rows from run to run
        passes = reasons(self._settings, self._day.kinds, {}).sql
        query = f"SELECT {', '.join(wanted)} FROM {self._table} WHERE {passes} = 0{mine}"
        batches = (without_listed(batch, lists) for batch in self._database.batches(query))
        for batch, scores in scored(self._quality, batches, self._threads):
            gathered.add(batch, scores)
        cell, quality = gathered.column("cell", np.int64), gathered.column("quality", np.float32)
        ids = gathered.ids(pa.int64() if is_integer else pa.string())
        dropped = np.zeros(len(cell), bool)
        if near is not None and dim:
            songs, vectors = gathered.column("songs", np.int64), gathered.column("vectors", np.int8)
            dropped = near_duplicates(songs, vectors.reshape(-1, dim), quality, near.cosine)
        without = len(cell) if near is not None and not dim else gathered.not_compared
        counts = {
            "no quality": gathered.no_quality,
            "same id": gathered.same_id,
            "near duplicate": int(dropped.sum()),
        }
        return _Part(ids.filter(pa.array(~dropped)), cell[~dropped], quality[~dropped], counts, without)
