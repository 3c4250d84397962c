"""What a run says: quantiles, goodput, refusals, and whether the generator itself kept its schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from karec.load.records import NAMES, Records
from karec.load.run import OK, Plan

FORMAT = 1
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
REFUSED = (429, 503)
BEHIND_MS, BEHIND_SHARE, BUSY_SHARE = 5.0, 0.01, 0.9
PER_DECADE, LEAST_MS = 100, 0.01  # buckets of 2.3 %
Milliseconds = NDArray[np.float64]


def report(plan: Plan, records: Records, slack_ms: float) -> dict[str, Any]:
    """As JSON has it (docs/formats.md). ``slack_ms``: an answer so much after the deadline is still good."""
    due, begun, sent, done = (
        1e3 * np.array(moment) for moment in (records.due, records.begun, records.sent, records.done)
    )
    status, event = np.array(records.status), np.array(records.event, bool)
    from_moment, service = done - due, done - sent
    feed, answered, refused = ~event, status == OK, np.isin(status, REFUSED)
    deadline = plan.asked.deadline_ms
    good = answered & feed & (True if deadline is None else from_moment <= deadline + slack_ms)
    late = (begun - due)[~np.isnan(begun)]
    cpu_share = records.cpu_s / max(records.wall_s, 1e-9)
    return {
        "format": FORMAT,
        "plan": {
            "url": f"{'https' if plan.target.tls else 'http'}://{plan.target.host}:{plan.target.port}{plan.target.path}",
            "rate": plan.rate,
            "seconds": plan.seconds,
            "arrivals": "even" if plan.even else "poisson",
            "connections": plan.connections,
            "users": len(plan.asked.users),
            "scene": plan.asked.scene,
            "k": plan.asked.k,
            "deadline_ms": deadline,
            "slack_ms": slack_ms,
            "events_share": plan.asked.events_share,
            "timeout_s": plan.timeout_s,
            "seed": plan.seed,
        },
        "requests": int(feed.sum()),
        "event_requests": int(event.sum()),
        "goodput_per_s": float(good.sum() / plan.seconds),
        "good_share": float(good.sum() / max(feed.sum(), 1)),
        "answered_per_s": float((answered & feed).sum() / plan.seconds),
        "latency_ms": {
            "from_moment": quantiles(from_moment[answered & feed]),
            "service": quantiles(service[answered & feed]),
        },
        "events_latency_ms": quantiles(from_moment[answered & event]),
        "refused_share": float(refused.sum() / max(len(status), 1)),
        "refused_latency_ms": {
            "from_moment": quantiles(from_moment[refused]),
            "service": quantiles(service[refused]),
        },
        "statuses": {_named(code): n for code, n in sorted(Counter(status.tolist()).items(), reverse=True)},
        "degraded": dict(records.degraded.most_common()),
        "events_taken": records.taken,
        "events_taken_ids": [
            (str(UUID(int=first)), str(UUID(int=last))) for first, last in joined(records.taken_ids)
        ],
        "events_refused": dict(records.refused.most_common()),
        "generator": {
            "late_ms": quantiles(late),
            "late_share": float((late > BEHIND_MS).mean()) if len(late) else 0.0,
            "cpu_share": cpu_share,
            "fell_behind": bool(
                len(late) and ((late > BEHIND_MS).mean() > BEHIND_SHARE or cpu_share > BUSY_SHARE)
            ),
        },
        "histogram_ms": {
            "from_moment": histogram(from_moment[answered & feed]),
            "service": histogram(service[answered & feed]),
        },
    }


def quantiles(values: Milliseconds) -> dict[str, float | None]:
    """Of the values as they are: the least one that so large a share does not exceed. None: too few to
    tell."""
    ordered = np.sort(values)
    return {name: _quantile(ordered, share) for name, share in QUANTILES.items()}


def _quantile(ordered: Milliseconds, share: float) -> float | None:
    n = len(ordered)
    if n == 0 or (share < 1 and n * (1 - share) < 1 - 1e-9):
        return None
    return float(ordered[min(int(np.ceil(share * n - 1e-9)), n) - 1])


def joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of whole numbers, both ends among them, as few ranges, ascending. O(N log N)."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def histogram(values: Milliseconds) -> list[tuple[float, int]]:
    """(upper edge, how many are at most it and above the edge before); a hundred edges a decade, empty
    buckets left out. Counts of several runs may be added.
    """
    bucket = np.ceil(PER_DECADE * np.log10(np.maximum(values, LEAST_MS) / LEAST_MS) - 1e-9).astype(np.int64)
    edges, counts = np.unique(bucket, return_counts=True)
    return [
        (float(LEAST_MS * 10 ** (edge / PER_DECADE)), int(n))
        for edge, n in zip(edges.tolist(), counts, strict=True)
    ]


def _named(code: int) -> str:
    return NAMES.get(code, str(code))
