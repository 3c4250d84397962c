"""File of a day's candidates: Parquet of ``id``, ``cell`` and ``quality``, facts in the footer.

A cell is stored as its index in the footer's list of cells.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.files import file_aside
from karec.screening.levels import LOW, Levels, to_order
from karec.screening.library import Day
from karec.screening.quality import QualityScorer
from karec.screening.rules import BlockList
from karec.screening.settings import ScreeningSettings

FORMAT = 1
FACTS, CELLS, LEVELS = b"screening.facts", b"screening.cells", b"screening.levels"
BATCH = 2**18  # rows


@dataclass(frozen=True)
class DayFacts:
    """Facts on a screened day.

    made_of    digest of everything that the candidates depend on
    rejected   {reason: works}, in the order in which a work is checked
    listed     {reason: positions in the rule's list of the ids that the uploads have}
    """

    made_of: str
    uploads: int
    rejected: Mapping[str, int]
    not_compared: int
    listed: Mapping[str, Sequence[int]]

    @property
    def candidates(self) -> int:
        return self.uploads - sum(self.rejected.values())


def day_digest(
    settings: ScreeningSettings, day: Day, scorer: QualityScorer, block_lists: Mapping[str, BlockList]
) -> str:
    """Returns a digest of all that candidates depend on: not ``keep``, floors, caps and ages."""
    parts = {
        "format": FORMAT,
        "rules": [rule.to_dict() for rule in settings.rules if rule.age_days is None],
        "listed": {reason: block_list.values for reason, block_list in block_lists.items()},
        "cells": [
            None if quota.condition is None else quota.condition.to_dict() for quota in settings.quotas
        ],
        "columns": settings.columns.to_dict(),
        "quality": [settings.quality.column, scorer.digest],
        "near_duplicates": settings.near_duplicates and settings.near_duplicates.to_dict(),
        "shards": [(shard.path.name, shard.digest) for shard in day.shards],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def write_day(path: Path, ids: Any, cell: NDArray[Any], quality: NDArray[Any], facts: DayFacts) -> None:
    """Writes the day's file. ``ids``: a pyarrow.ChunkedArray of all candidates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    levels = Levels.from_works(cell, to_order(quality) >> LOW)
    cells = levels.cells
    table = pa.table(
        {
            "id": ids,
            "cell": np.searchsorted(cells, cell).astype(np.uint32),
            "quality": quality.astype(np.float32),
        }
    )
    packed = zlib.compress(np.stack([levels.cell, levels.level, levels.count]).astype("<i8").tobytes(), 1)
    metadata = {
        FACTS: json.dumps({"format": FORMAT, **asdict(facts)}).encode(),
        CELLS: json.dumps(cells.tolist()).encode(),
        LEVELS: base64.b64encode(packed),
    }
    with file_aside(path) as file:
        pq.write_table(
            table.replace_schema_metadata(metadata), file, compression="zstd", use_dictionary=["cell"]
        )


class DayFile:
    """A day's file; ``batches`` reads its rows. Raises OSError or ValueError if the file is not one."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path = path
        metadata = pq.read_metadata(path).metadata or {}
        if not {FACTS, CELLS, LEVELS} <= set(metadata):
            raise ValueError(f"{path}: not a file of a screened day")
        facts = json.loads(metadata[FACTS])
        if facts.pop("format") != FORMAT:
            raise ValueError(f"{path}: unsupported format")
        self.facts = DayFacts(**facts)
        self.cells = np.array(json.loads(metadata[CELLS]), np.int64)
        packed = np.frombuffer(zlib.decompress(base64.b64decode(metadata[LEVELS])), "<i8").reshape(3, -1)
        self.levels = Levels(*packed.astype(np.int64))

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(BATCH, columns=list(columns))


def read_day_file(path: Path) -> DayFile | None:
    """Returns the day's file, or None if it is missing or not readable."""
    try:
        return DayFile(path)
    except (OSError, ValueError, TypeError, KeyError, zlib.error):
        return None
