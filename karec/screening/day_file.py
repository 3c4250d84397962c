"""File of a day's candidates: Parquet of ``id``, ``cell``, ``level`` and ``quality``, facts in the footer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.files import file_aside
from karec.screening.levels import LOW, to_order
from karec.screening.library import Day
from karec.screening.quality import QualityScorer
from karec.screening.rules import BlockList
from karec.screening.settings import ScreeningSettings

FORMAT = 1
FACTS = b"screening.facts"  # in the footer


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
        "quality": [settings.quality.column, settings.quality.min, scorer.digest],
        "near_duplicates": settings.near_duplicates and settings.near_duplicates.to_dict(),
        "shards": [(shard.path.name, shard.digest) for shard in day.shards],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def write_day(path: Path, ids: Any, cell: NDArray[Any], quality: NDArray[Any], facts: DayFacts) -> None:
    """Writes the day's file. ``ids``: a pyarrow.ChunkedArray of all candidates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    level = (to_order(quality) >> LOW).astype(np.uint16)
    table = pa.table({"id": ids, "cell": cell, "level": level, "quality": quality.astype(np.float32)})
    metadata = {FACTS: json.dumps({"format": FORMAT, **asdict(facts)}).encode()}
    with file_aside(path) as file:
        pq.write_table(
            table.replace_schema_metadata(metadata),
            file,
            compression="zstd",
            use_dictionary=["cell", "level"],
        )


def read_facts(path: Path) -> DayFacts | None:
    """Returns the facts in the day's file, or None if it is missing, not readable or of another format."""
    import pyarrow.parquet as pq

    try:
        facts = json.loads(pq.read_metadata(path).metadata[FACTS])
        return DayFacts(**facts) if facts.pop("format") == FORMAT else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
