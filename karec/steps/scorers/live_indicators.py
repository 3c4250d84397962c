"""Scorer by live indicators: rates of items among all users.

An indicator is the rate of a label per impression of an item. It is smoothed towards the rate of the item's
creator, which is smoothed towards the mean of all items. It is as new as the last poll of the online store.
"""

from __future__ import annotations

from collections.abc import Mapping

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.live_rates import live_rates


class LiveIndicators(Scorer):
    """score = Σ weight · smoothed rate of the item, over labels. An unknown item has the mean of all items.

    Settings:
        weights: factor of each label. Absent: 1 for the last counted label that means enjoyed and 1 for the
            one that means liked.
        by: integer column of items, for example `song_id`: items with the same value have one rate. Absent:
            each item has its own.
        half_life: `hour`, `day` or `week`: rates of recent events of the online store, smoothed towards the
            rates of all events. Absent: rates of all events.

    Cost: O(N log works), and O(works) once per poll of the online store that has new events.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        weights: Mapping[str, float] | None = None,
        by: str | None = None,
        half_life: str | None = None,
    ) -> None:
        self.rates = live_rates(snapshot, weights, by, half_life)

    def score(self, request: Request, candidates: Candidates) -> Array:
        return self.rates.read(request).values_of(candidates.ids)
