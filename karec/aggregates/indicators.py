"""Indicators of items: Σ weight · rate of a label, from counters of items.

The rate of an item is smoothed towards that of its creator, which is smoothed towards the mean of all items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.catalog.schema import EXPOSED, counter
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


def smoothed_rates(
    positives: NDArray[Any], shows: NDArray[Any], group: NDArray[Any] | None, *, by_group: bool = False
) -> tuple[NDArray[Any], float]:
    """Returns (N,) float64 rates of items and the mean rate, from counts (N,). O(N).

    ``group`` (N,), from 0: items of a group share a prior, or with ``by_group`` their rate. None: the prior
    is the mean.
    """
    mean = mean_rate(positives, shows)
    if group is None:
        return smoothed_rate(positives, shows, mean), mean
    sums = [np.bincount(group, weights=values) for values in (positives, shows)]
    prior = smoothed_rate(sums[0], sums[1], mean)[group]
    return prior if by_group else smoothed_rate(positives, shows, prior), mean
