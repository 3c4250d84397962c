"""Both scorings of a whole pool: the ranker's and prerank's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import ContractError, Unavailable
from karec.features.user_vectors import VECTOR, user_query
from karec.pipeline.step import Stage
from karec.pipeline.types import Candidates, Request

CHUNK = 4096  # works that are ranked at once: bounds memory, and costs no time
COLUMNS = ("ids", "rows", "scores", "sources")


class PoolScorer:
    """Both scorings of a pool, the ranker's and prerank's, as ``stage`` and the request's view of the item
    index would give them in serving."""

    def __init__(self, stage: Stage) -> None:
        roles = [step.role for step in stage.steps]
        end = roles.index("selector") if "selector" in roles else len(roles)
        if "scorer" not in roles[:end]:
            raise ValueError(
                f"the stage {stage.name!r} has no scorer before its first selector: nothing to log"
            )
        self.stage = Stage(stage.name, stage.steps[:end])

    def score(self, request: Request, pool: Candidates) -> tuple[Candidates, NDArray[Any]]:
        """(the pool with its ``logits`` and fused scores, (N,) prerank's scores).

        Prerank's are NaN for works without a vector, and where there is no user vector for its model version.

        Works that the stage filters out are left out. Raises Unavailable when a logit is not finite.
        """
        parts = [pool.take(rows) for rows in np.split(np.arange(len(pool)), range(CHUNK, len(pool), CHUNK))]
        ranked = _joined([self.stage.run(request, part).candidates for part in parts])
        if not np.isfinite(ranked.columns["logits"]).all():
            raise Unavailable("the ranker gave a logit that is not finite: the pool is not logged")
        if VECTOR not in request.features:
            return ranked, np.full(len(ranked), np.nan, np.float32)
        scores = request.index.scores(user_query(request), ids=ranked.ids)
        return ranked, np.where(np.isneginf(scores), np.float32(np.nan), scores)


def stage_named(stages: Sequence[Stage], name: str) -> Stage:
    """The stage called ``name``; ValueError when there is none."""
    for stage in stages:
        if stage.name == name:
            return stage
    raise ValueError(f"no stage {name!r}; there are {[stage.name for stage in stages]}")


def _joined(parts: Sequence[Candidates]) -> Candidates:
    if "logits" not in parts[0].columns:
        raise ContractError("the stage gives no logits: it needs the step ranker")
    columns = {"logits": np.concatenate([part.columns["logits"] for part in parts])}
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return Candidates(**arrays, columns=columns)
