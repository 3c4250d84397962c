"""The file of a day's candidates: Parquet of ``id``, ``cell`` and ``quality``, and what else is known of the
day in its footer. A cell is stored as its place in the footer's list of cells.
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
from karec.screening.levels import LOW, Levels, order_of
from karec.screening.library import Day
from karec.screening.quality import Judge
from karec.screening.rules import Blocked
from karec.screening.settings import Settings

FORMAT = 1
FACTS, CELLS, LEVELS = b"screening.facts", b"screening.cells", b"screening.levels"
BATCH = 2**18  # rows


@dataclass(frozen=True)
class DayFacts:
    """``made_of``: digest of all that the candidates depend on. ``rejected``: {reason: works}, in the order
    in which a work meets them. ``listed``: {reason: places of the rule's list that the uploads hold}.
    """

    made_of: str
    uploads: int
    rejected: Mapping[str, int]
    not_compared: int
    listed: Mapping[str, Sequence[int]]

    @property
    def candidates(self) -> int:
        return self.uploads - sum(self.rejected.values())


def digest_of(settings: Settings, day: Day, quality: Judge, blocked: Mapping[str, Blocked]) -> str:
    """Of all that a day's candidates depend on; ``keep``, floors, caps and ages are not among it."""
    parts = {
        "format": FORMAT,
        "rules": [asdict(rule) for rule in settings.rules if rule.age_days is None],
        "listed": {reason: each.values for reason, each in blocked.items()},
        "cells": [None if quota.condition is None else asdict(quota.condition) for quota in settings.quotas],
        "columns": asdict(settings.columns),
        "quality": [settings.quality.column, quality.digest],
        "near_duplicates": settings.near_duplicates and asdict(settings.near_duplicates),
        "shards": [(shard.path.name, shard.digest) for shard in day.shards],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def write_day(path: Path, ids: Any, cell: NDArray[Any], quality: NDArray[Any], facts: DayFacts) -> None:
    """``ids``: a pyarrow.ChunkedArray of all candidates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    levels = Levels.count_of(cell, order_of(quality) >> LOW)
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
    """A day's file, opened; its rows are read only by ``batches``. OSError, ValueError: it is none."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path = path
        metadata = pq.read_metadata(path).metadata or {}
        if not {FACTS, CELLS, LEVELS} <= set(metadata):
            raise ValueError(f"{path} is no file of a screened day")
        said = json.loads(metadata[FACTS])
        if said.pop("format") != FORMAT:
            raise ValueError(f"{path} is of another format")
        self.facts = DayFacts(**said)
        self.cells = np.array(json.loads(metadata[CELLS]), np.int64)
        packed = np.frombuffer(zlib.decompress(base64.b64decode(metadata[LEVELS])), "<i8").reshape(3, -1)
        self.levels = Levels(*packed.astype(np.int64))

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """pyarrow.RecordBatch by RecordBatch, in order."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(BATCH, columns=list(columns))


def read_day_file(path: Path) -> DayFile | None:
    """None: there is none, or what is there is none."""
    try:
        return DayFile(path)
    except (OSError, ValueError, TypeError, KeyError, zlib.error):
        return None
