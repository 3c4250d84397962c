"""Source of items with the best live indicators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.aggregates.indicators import indicator_weights, indicators
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.fixed_list import FixedList


class Indicators(Source):
    """The ``quota`` items with the largest sum of weight · rate of a label (``karec.aggregates.indicators``).

    Settings:
        weights: factor of each label, as in the scorer ``live_indicators``.
    """

    is_verified = True  # tests/steps/sources/test_indicators.py
    has_all = True
    reason = "with the best live indicators"

    def __init__(self, snapshot: Snapshot, quota: int, weights: Mapping[str, float] | None = None) -> None:
        self.quota = quota
        self.weights = indicator_weights(snapshot, weights)
        key = ("best indicators", quota, *sorted(self.weights.items()))
        self.best = snapshot.built.get(
            key, lambda: _top_works(snapshot, indicators(snapshot, self.weights)[0].astype(np.float32), quota)
        )

    def recall(self, request: Request) -> Candidates:
        return self.best.candidates(request)


def _top_works(snapshot: Snapshot, priority: Array, quota: int) -> FixedList:
    """The ``quota`` works of the highest priority, ties by row."""
    return FixedList.from_ids(np.asarray(snapshot.works.ids)[np.argsort(-priority, kind="stable")[:quota]])
