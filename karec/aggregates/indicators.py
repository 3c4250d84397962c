"""Live indicators of works: Σ weight · rate of a label, as live as the snapshot's counters are.

A work's rate is smoothed towards its creator's, which is smoothed towards the mean of all works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.catalog.schema import CREATOR, EXPOSED, counter
from karec.catalog.snapshot import Snapshot


def indicator_weights(snapshot: Snapshot, weights: Mapping[str, float] | None) -> dict[str, float]:
    """``weights``; None: of what says enjoyed the label that is counted last, and of what says liked, 1 each.

    ValueError where works count none of them.
    """
    columns = snapshot.works.columns
    counted = (*snapshot.meaning.enjoyed[-1:], *snapshot.meaning.liked)
    weights = dict.fromkeys(counted, 1.0) if weights is None else dict(weights)
    missing = [label for label in weights if counter(label) not in columns]
    if not weights or missing or EXPOSED not in columns:
        there = sorted(name.removeprefix("count_") for name in columns if name.startswith("count_"))
        raise ValueError(f"live indicators of {list(weights)}: works count {there}")
    return weights


def indicators(snapshot: Snapshot, weights: Mapping[str, float]) -> tuple[NDArray[Any], float]:
    """((works,) float32, the mean of all works), computed once a snapshot and shared. O(works · labels)."""
    return snapshot.built.get(
        ("indicators", *sorted(weights.items())), lambda: _indicators(snapshot, weights)
    )


def _indicators(snapshot: Snapshot, weights: Mapping[str, float]) -> tuple[NDArray[Any], float]:
    columns = snapshot.works.columns
    shows = np.asarray(columns[EXPOSED], np.float64)
    creator = np.unique(columns[CREATOR], return_inverse=True)[1] if CREATOR in columns else None
    total, means = np.zeros(len(shows)), 0.0
    for label, weight in weights.items():
        positives = np.asarray(columns[counter(label)], np.float64)
        mean = mean_rate(positives, shows)
        near: float | NDArray[Any] = mean
        if creator is not None:
            sums = [np.bincount(creator, weights=values) for values in (positives, shows)]
            near = smoothed_rate(sums[0], sums[1], mean)[creator]
        total += weight * smoothed_rate(positives, shows, near)
        means += weight * mean
    return total.astype(np.float32), means
