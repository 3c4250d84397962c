"""Prerank as a continuation of recall: works ordered by how they do with everybody, no model.

The talk's first road: real-time indicators sort what recall found. An indicator is a label's rate among a work's shows,
smoothed towards its creator's rate, which is smoothed towards the mean of all works. As live as the snapshot is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.platform.rates import mean_rate, smoothed_rate
from karec.platform.schema import CREATOR, EXPOSED, counter
from karec.platform.snapshot import Snapshot
from karec.stage import Scorer
from karec.types import Array, Candidates, Request


class LiveIndicators(Scorer):
    """score = Σ weight · rate of the work, over the labels of ``weights``.

    ``weights``: {label: weight}; None: of what says enjoyed the label that is counted last, and of what says liked, 1
    each. A work that the snapshot does not know has the mean of all. O(N log works); the rates are computed once.
    """

    def __init__(self, snapshot: Snapshot, weights: Mapping[str, float] | None = None) -> None:
        columns = snapshot.works.columns
        counted = (*snapshot.meaning.enjoyed[-1:], *snapshot.meaning.liked)
        self.weights = dict.fromkeys(counted, 1.0) if weights is None else dict(weights)
        missing = [label for label in self.weights if counter(label) not in columns]
        if not self.weights or missing or EXPOSED not in columns:
            there = sorted(name.removeprefix("count_") for name in columns if name.startswith("count_"))
            raise ValueError(f"live indicators of {list(self.weights)}: works count {there}")
        self.snapshot = snapshot
        key = ("live indicators", *sorted(self.weights.items()))
        self.rates = snapshot.built.get(key, lambda: _indicator(snapshot, self.weights))

    def score(self, request: Request, candidates: Candidates) -> Array:
        return self.rates[self.snapshot.works.lookup(candidates.ids)]


def _indicator(snapshot: Snapshot, weights: Mapping[str, float]) -> Array:
    """(works + 1,) float32; the last is of a work that nobody knows, found at row −1."""
    columns = snapshot.works.columns
    shows = np.asarray(columns[EXPOSED], np.float64)
    creator = np.unique(columns[CREATOR], return_inverse=True)[1] if CREATOR in columns else None
    total = np.zeros(len(shows) + 1)
    for label, weight in weights.items():
        positives = np.asarray(columns[counter(label)], np.float64)
        mean = mean_rate(positives, shows)
        near: float | Array = mean
        if creator is not None:
            sums = [np.bincount(creator, weights=values) for values in (positives, shows)]
            near = smoothed_rate(sums[0], sums[1], mean)[creator]
        total += weight * np.append(smoothed_rate(positives, shows, near), mean)
    return total.astype(np.float32)
