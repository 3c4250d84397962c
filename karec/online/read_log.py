"""Reads events of an online store and of its exported days: for trainings, and for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from karec.aggregates.events import KINDS, Events, Head
from karec.errors import LogSchemaError
from karec.online.event_files import EventFiles
from karec.online.export import read_events
from karec.online.store.contents import read_head
from karec.online.store.open import SQLITE, open_store


@dataclass(frozen=True)
class EventSource:
    """An online store, by its URL with an absolute path, and the folder or URL of its exported days."""

    url: str
    exported: str | None = None


def read_log(source: EventSource, since_ms: int = 0) -> tuple[Head, Events]:
    """Returns the labels and scenes of a store, and its events with ``time_ms`` of at least ``since_ms``.

    Exported events are included. The events are in the order of ``Events.sort_unique``. Raises LogSchemaError
    if there is no store, or an exported file is damaged.
    """
    path = source.url.removeprefix(SQLITE)
    if source.url.startswith(SQLITE) and not Path(path).is_file():
        raise LogSchemaError(f"{path}: no online store, expected the file of a service")
    store = open_store(source.url, Path())
    try:
        head = read_head(store)
        files = None if source.exported is None else EventFiles(source.exported)
        return head, read_events(store, head, files, since_ms)
    finally:
        store.close()


def describe_log(source: EventSource) -> dict[str, str | int]:
    """Returns the number of events, also by kind and label, and the first and last time."""
    head, events = read_log(source)
    kinds, counts = np.unique(events.kind, return_counts=True)
    labels = Counter(
        {
            label: int((events.labels >> np.uint64(bit) & np.uint64(1)).sum())
            for bit, label in enumerate(head.labels)
        }
    )
    times = {"from": events.time_ms.min(), "to": events.time_ms.max()} if len(events) else {}
    return {
        "events": len(events),
        **{f"  {KINDS[kind]}": n for kind, n in zip(kinds.tolist(), counts.tolist(), strict=True)},
        "labels": ", ".join(f"{label} {n:,}" for label, n in labels.items()),
        "scenes": ", ".join(head.scenes),
        **{name: f"{np.datetime64(int(time_ms), 'ms')} UTC" for name, time_ms in times.items()},
    }
