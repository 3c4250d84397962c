"""Scorer that applies the exposure constraints of a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from karec.errors import ContractError
from karec.exposure.dual_variables import DualVariables, subtract_penalties
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request, StepOutput


class ExposureControl(Scorer):
    """Subtracts λ · standard deviation from the scores, with λ the sum of an item's dual variables.

    Scores of items whose λ is 0 keep their bits. The ``explore`` best draws of the pinned items get the score
    of a position in the first half of the page; the request's id draws the position. Notes: the dual
    variables and unmet constraints. A scene with a table ``exposure`` has the step before the first selector
    of its last stage.

    Cost: O(N · target groups + N log k).
    """

    needs = ("rows", "scores")

    def score(self, request: Request, candidates: Candidates) -> StepOutput[Array]:
        dual_variables = request.dual_variables
        if dual_variables is None:
            raise ContractError(
                "this request has no dual variables: run it in a cascade with exposure control, "
                "Cascade(…, exposure=controller)"
            )
        scores = candidates.scores
        penalties = dual_variables.penalties(
            candidates.ids,
            lambda column: request.column(column, candidates),
            now_ms=0 if request.time_ms is None else request.time_ms,
        )
        if penalties is not None:
            scores = subtract_penalties(scores, penalties)
        if not dual_variables.max_explored:
            return StepOutput(scores, dual_variables.notes)
        explored = _explored_positions(request, candidates, dual_variables)
        if len(explored):
            scores = _raise_scores(scores, explored, request)
        return StepOutput(scores, {**dual_variables.notes, "explored": len(explored)})


def _explored_positions(
    request: Request, candidates: Candidates, dual_variables: DualVariables
) -> NDArray[np.int64]:
    """Returns (≤ max_explored,) positions of pinned items that the request explores, best draw first.

    A later draw is used only if a filter removed an earlier one. Items that another source pins are not
    explored.
    """
    if candidates.pinned is None:
        return np.empty(0, np.int64)
    positions = np.flatnonzero(candidates.pinned)
    drawn_ids = dual_variables.explored_ids(request.seed, request.shown)
    is_drawn = candidates.ids[positions] == drawn_ids[:, None]  # (draws, pinned)
    return positions[np.nonzero(is_drawn)[1]][: dual_variables.max_explored]


def _raise_scores(scores: Array, positions: Array, request: Request) -> Array:
    """Returns ``scores`` with those at ``positions`` raised into the first half of the page."""
    k = min(request.k, len(scores))
    best = np.sort(np.partition(scores, len(scores) - k)[len(scores) - k :])[::-1]
    half = max(k // 2, 1)
    random_bits = request.seed
    new_scores = scores.copy()
    for position in positions.tolist():
        random_bits, place = divmod(random_bits, half)
        new_scores[position] = max(new_scores[position], np.nextafter(best[place], np.float32(np.inf)))
    return new_scores
