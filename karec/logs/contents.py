"""Which ranker wrote each part of a rank log, and under which model versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from karec.logs.parts import RANKER_KEY, arrow_parquet, read_part_schema
from karec.logs.read import log_parts


@dataclass(frozen=True)
class PartContents:
    """``ranker`` is the fingerprint that the part names, "" where it names none; ``rows`` {model version:
    rows}."""

    part: Path
    ranker: str
    rows: Mapping[int, int]


def log_contents(folder: Path) -> list[PartContents]:
    """The contents of each part of the log in ``folder``. LogSchemaError as ``read_rank_log`` for what it
    reads."""
    found = []
    for part in log_parts(folder):
        schema = read_part_schema(part)
        ranker = (schema.metadata or {}).get(RANKER_KEY, b"").decode(errors="replace")
        rows: dict[int, int] = {}
        # without it ``read_rank_log`` refuses the part by name
        if schema.get_field_index("model_version") >= 0:
            table = arrow_parquet().parquet.read_table(part, columns=["model_version"])
            versions, counts = np.unique(table["model_version"].to_numpy(), return_counts=True)
            rows = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        found.append(PartContents(part, ranker, rows))
    return found


def rows_by_version(contents: Iterable[PartContents]) -> dict[int, int]:
    """{model version: rows}, lowest version first."""
    total: Counter[int] = Counter()
    for part in contents:
        total.update(part.rows)
    return dict(sorted(total.items()))
