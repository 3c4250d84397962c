"""MMR and SSD as steps: the other two ways to scatter a list by its item vectors, on the same footing as ``dpp``."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from karec.diversify.vectors import vectors_of
from karec.diversity import MarginalResult, mmr_select, ssd_select, standardised
from karec.index import ItemIndex
from karec.stage import Selector
from karec.types import Candidates, Request, Selection


class Marginal(Selector):
    """Picks by standardised score and by distance from what was picked and shown; ``k`` None = ``request.k``."""

    needs = ("rows", "scores")
    choose: ClassVar[Callable[..., MarginalResult]]

    def __init__(
        self, index: ItemIndex, k: int | None = None, diversity: float = 0.5, window: int | None = None
    ) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        if not 0.0 <= diversity <= 1.0:
            raise ValueError(f"diversity must lie in [0, 1], got {diversity}")
        if window is not None and window <= 0:
            raise ValueError(f"window must be positive, got {window}")
        self.index = index
        self.k = k
        self.diversity = diversity
        self.window = window

    def select(self, request: Request, candidates: Candidates) -> Selection:
        if not len(candidates):
            return Selection(np.empty(0, np.int64))
        vectors, shown, _ = vectors_of(request, candidates)
        result = self.choose(
            vectors,
            standardised(candidates.scores),
            request.k if self.k is None else self.k,
            diversity=self.diversity,
            window=self.window,
            shown=shown,
        )
        return Selection(result.indices)


class Mmr(Marginal):
    """Maximal marginal relevance; defined at ``karec.mmr_select``."""

    choose = staticmethod(mmr_select)


class Ssd(Marginal):
    """Sliding spectrum decomposition; defined at ``karec.ssd_select``."""

    choose = staticmethod(ssd_select)
