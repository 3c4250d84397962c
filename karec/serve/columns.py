"""What is known of works: their columns now, those of the bundle or of what happened since, with labels as
texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from karec.bundle import Bundle
from karec.catalog.snapshot import Snapshot
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array


def columns_of(cascade: Cascade, numbers: Array) -> list[dict[str, Any]]:
    """{column: value} of each of the works ``numbers (N,)``; empty for one that nobody knows. O(N ·
    columns)."""
    bundle = cascade.bundle
    if bundle is None:
        return [{} for _ in numbers]
    found = _of(bundle.snapshot, numbers, bundle.snapshot)
    if cascade.online is not None and isinstance(bundle, Bundle):
        since = cascade.online.view(-1)[0].items.updates
        newer = _of(since, numbers, bundle.snapshot)
        found = [new or old for new, old in zip(newer, found, strict=True)]
    return found


def _of(snapshot: Snapshot, numbers: Array, labels: Snapshot) -> list[dict[str, Any]]:
    rows = snapshot.works.lookup(np.asarray(numbers, np.int64))
    found = []
    for row in rows.tolist():
        values = (
            {}
            if row < 0
            else {name: snapshot.works.columns[name][row].item() for name in snapshot.works.columns}
        )
        for name, of_code in labels.labels.items():
            code = values.get(name)
            if isinstance(code, int) and 0 <= code < len(of_code):
                values[name] = of_code[code]
        found.append(values)
    return found
