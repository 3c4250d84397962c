"""Reads the events of an online store: for trainings, and for people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from karec.aggregates.events import KINDS, Events, Head
from karec.errors import LogSchemaError
from karec.online.export import read_events
from karec.online.store.contents import read_head
from karec.online.store.open import SQLITE, open_store


def read_log(url: str, since_ms: int = 0) -> tuple[Head, Events]:
    """Returns the labels and scenes of a store, and its events with ``time_ms`` of at least ``since_ms``.

    The events are in the order of ``Events.sort_unique``. Raises LogSchemaError if there is no store.
    """
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).is_file():
        raise LogSchemaError(f"{url.removeprefix(SQLITE)}: no online store, expected the file of a service")
    store = open_store(url, Path())
    try:
        head = read_head(store)
        return head, read_events(store, head, None, since_ms)
    finally:
        store.close()


def describe_log(url: str) -> dict[str, str]:
    """Returns events by kind, labels, first and last time, as texts."""
    head, events = read_log(url)
    kinds, counts = np.unique(events.kind, return_counts=True)
    labels = Counter(
        {
            label: int((events.labels >> np.uint64(bit) & np.uint64(1)).sum())
            for bit, label in enumerate(head.labels)
        }
    )
    times = {"from": events.time_ms.min(), "to": events.time_ms.max()} if len(events) else {}
    return {
        "events": f"{len(events):,}",
        **{f"  {KINDS[kind]}": f"{n:,}" for kind, n in zip(kinds.tolist(), counts.tolist(), strict=True)},
        "labels": ", ".join(f"{label} {n:,}" for label, n in labels.items()),
        "scenes": ", ".join(head.scenes),
        **{name: f"{np.datetime64(int(time_ms), 'ms')} UTC" for name, time_ms in times.items()},
    }
