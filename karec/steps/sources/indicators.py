"""Source of items with the best live indicators."""

from __future__ import annotations

from collections.abc import Mapping

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.fixed_list import FixedList
from karec.steps.shared.live_rates import Rates, live_rates


class Indicators(Source):
    """The ``quota`` items with the largest sum of weight · rate of a label, also of new uploads.

    Settings:
        weights: factor of each label, as in the scorer ``live_indicators``.
        by: as in ``live_indicators``.
        half_life: as in ``live_indicators``.

    Cost: O(1), and O(works) once per poll of the online store that has new events. O(works) if the request
    restricts items.
    """

    is_verified = True  # tests/steps/sources/test_indicators.py
    has_all = True
    reason = "with the best live indicators"

    def __init__(
        self,
        snapshot: Snapshot,
        quota: int,
        weights: Mapping[str, float] | None = None,
        by: str | None = None,
        half_life: str | None = None,
    ) -> None:
        self.quota = quota
        self.rates = live_rates(snapshot, weights, by, half_life)
        self._newest: tuple[Rates, FixedList] | None = None

    def recall(self, request: Request) -> Candidates:
        rates, newest = self.rates.read(request), self._newest
        if request.allowed is not None:
            allowed = request.allowed.at(request.index.lookup(rates.ids))
            return Candidates.from_ids(rates.best(self.quota, allowed))
        if newest is None or newest[0] is not rates:
            self._newest = newest = rates, FixedList.from_ids(rates.best(self.quota))
        return newest[1].candidates(request)
