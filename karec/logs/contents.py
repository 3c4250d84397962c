"""Contents of a rank log: rankers and model versions by part, and a summary for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from karec.logs.parts import (
    RANKER_KEY,
    LogFolder,
    Part,
    arrow_parquet,
    has_soft_labels,
    open_part,
    read_part_schema,
)
from karec.logs.read import list_parts, read_rank_log, read_tasks


@dataclass(frozen=True)
class PartContents:
    """Ranker and rows of one part.

    ranker           fingerprint of the ranker, "" if the part has none
    rows             {model version: number of rows}
    has_soft_labels  False: a scene without a ranker or of another item type than works wrote the part
    """

    part: Part
    ranker: str
    rows: Mapping[int, int]
    has_soft_labels: bool


def read_log_contents(folder: LogFolder) -> list[PartContents]:
    """Returns the contents of each part in ``folder``. Raises LogSchemaError as ``read_rank_log``."""
    contents = []
    for part in list_parts(folder):
        schema = read_part_schema(part)
        ranker = (schema.metadata or {}).get(RANKER_KEY, b"").decode(errors="replace")
        rows: dict[int, int] = {}
        if schema.get_field_index("model_version") >= 0:  # else read_rank_log rejects the part
            table = arrow_parquet().parquet.read_table(open_part(part), columns=["model_version"])
            versions, counts = np.unique(table["model_version"].to_numpy(), return_counts=True)
            rows = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        contents.append(PartContents(part, ranker, rows, has_soft_labels(schema)))
    return contents


def count_rows_by_version(contents: Iterable[PartContents]) -> dict[int, int]:
    """Returns {model version: number of rows}, lowest version first."""
    total: Counter[int] = Counter()
    for part in contents:
        total.update(part.rows)
    return dict(sorted(total.items()))


def describe_rank_log(folder: LogFolder) -> dict[str, str | int]:
    """Returns the numbers of parts, rows and requests, tasks, versions and times of the log in ``folder``."""
    log = read_rank_log(folder, ())
    versions = ", ".join(str(version) for version in np.unique(log.model_version))
    first, last = (np.datetime64(int(moment), "ms") for moment in (log.time_ms.min(), log.time_ms.max()))
    return {
        "parts": len(list_parts(folder)),
        "rows": len(log),
        "requests": len(set(log.request_id)),
        "shadow requests": len(set(log.request_id[log.shadow])),
        "rows of shadow requests": int(log.shadow.sum()),
        "item types": ", ".join(sorted({name or "work" for name in log.item_type})),
        "tasks": ", ".join(read_tasks(folder)),
        "model versions": versions,
        "from": f"{first} UTC",
        "to": f"{last} UTC",
    }
