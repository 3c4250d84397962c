"""Indicators of items: Σ weight · rate of a label, from the counters of a snapshot.

The rate of an item is smoothed towards that of its creator, which is smoothed towards the mean of all items.
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
    """Returns ``weights``, or by default 1 for the last label of enjoyed and for the labels of liked.

    Raises ValueError if items do not have the counters.
    """
    columns = snapshot.works.columns
    labels = (*snapshot.meaning.enjoyed[-1:], *snapshot.meaning.liked)
    weights = dict.fromkeys(labels, 1.0) if weights is None else dict(weights)
    missing = [label for label in weights if counter(label) not in columns]
    if not weights or missing or EXPOSED not in columns:
        counted_labels = sorted(name.removeprefix("count_") for name in columns if name.startswith("count_"))
        raise ValueError(f"live indicators of {list(weights)}: works count {counted_labels}")
    return weights


def indicators(snapshot: Snapshot, weights: Mapping[str, float]) -> tuple[NDArray[Any], float]:
    """Returns (works,) float32 and the mean of all items, cached with the snapshot. O(works · labels)."""
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
        prior: float | NDArray[Any] = mean
        if creator is not None:
            sums = [np.bincount(creator, weights=values) for values in (positives, shows)]
            prior = smoothed_rate(sums[0], sums[1], mean)[creator]
        total += weight * smoothed_rate(positives, shows, prior)
        means += weight * mean
    return total.astype(np.float32), means
