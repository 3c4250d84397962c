"""What an event log holds, for people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from karec.aggregates.events import KINDS
from karec.online.event_log.head import read_head
from karec.online.event_log.parts import all_parts, hours, read_part


def describe_event_log(folder: Path) -> dict[str, str]:
    """Hours, parts, events by kind, labels, first and last moment. Every part is read and its checksum
    checked."""
    head, n_parts, n_open = read_head(folder), 0, 0
    kinds, labels, first, last = Counter[str](), Counter[str](), list[int](), list[int]()
    for part in all_parts(folder):
        events = read_part(part, head)
        n_parts, n_open = n_parts + 1, n_open + (part.crc is None)
        for kind, count in zip(*np.unique(events.kind, return_counts=True), strict=True):
            kinds[KINDS[kind]] += int(count)
        for bit, label in enumerate(head.labels):
            labels[label] += int((events.labels >> np.uint64(bit) & np.uint64(1)).sum())
        if len(events):
            first.append(int(events.time_ms.min()))
            last.append(int(events.time_ms.max()))
    moments = {"from": min(first), "to": max(last)} if first else {}
    return {
        "hours": str(len(hours(folder))),
        "parts": f"{n_parts:,}, {n_open:,} of them open",
        "events": f"{sum(kinds.values()):,}, repeats included",
        **{f"  {kind}": f"{kinds[kind]:,}" for kind in KINDS if kinds[kind]},
        "labels": ", ".join(f"{label} {labels[label]:,}" for label in head.labels),
        "scenes": ", ".join(head.scenes),
        "late at most": f"{head.late_ms / 3_600_000:g} h",
        **{name: f"{np.datetime64(moment, 'ms')} UTC" for name, moment in moments.items()},
    }
