"""Source of items below their exposure guarantee."""

from __future__ import annotations

import numpy as np

from karec.exposure.controller import ExposureController
from karec.exposure.dual_variables import SPARE
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request


class Underexposed(Source):
    """Items that this request explores, drawn by Thompson sampling; they are pinned. Empty if there are none.

    A scene whose table ``exposure`` has ``explore`` above 0 has it as its first source.
    """

    reason = "below the exposure guarantee"

    def __init__(self, exposure: ExposureController) -> None:
        self.quota = SPARE * exposure.settings.explore

    def recall(self, request: Request) -> Candidates:
        if request.dual_variables is None:
            return Candidates.empty()
        candidates = Candidates.from_ids(request.dual_variables.explored_ids(request.seed, request.shown))
        return candidates.with_pinned(np.ones(len(candidates), bool))
