"""Shadow requests: for a share of requests the ranker scores the whole pool, and the rank log keeps it.

Logs of what was ranked hold only what prerank let through. A shadow request has the rank stage score
everything that prerank could choose from, so that towers can learn from works that nobody was shown, and be
judged on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from karec.features.pool_scores import PoolScorer, find_stage
from karec.index import IndexSchema
from karec.logs.write import PART_ROWS
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import Stage
from karec.pipeline.types import Page, Request
from karec.steps.shared.rank_rows import FLUSH_SECONDS, RankRows


class Shadow(RankRows):
    """Of a ``share`` of requests, logs the ranker's and prerank's scores of the whole pool, marked as shadow.

    The pool is what the stage ``pool`` had before its first selector. Of more than ``at_most`` works, so many
    are drawn at random, seeded by the request's id. The ranker's scores are those of the steps that the stage
    ``stage`` runs before its own first selector; prerank's are ⟨user vector, item vector⟩, adjusted as in the
    index. A request's id alone decides whether it is chosen. ``flush_seconds``: see ``RankRows``. A
    request in which a fallback ran had another pool, and is left out and counted.
    """

    needs = ("column.logits", "scores")
    has_view = True

    def __init__(
        self,
        ranker: OnnxModel,
        schema: IndexSchema,
        stages: Sequence[Stage],
        config_folder: Path,
        folder: str,
        share: float,
        at_most: int = 100_000,
        pool: str = "prerank",
        stage: str = "rank",
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        super().__init__(ranker, config_folder / folder, PART_ROWS, flush_seconds)
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        if at_most <= 0:
            raise ValueError(f"at_most must be positive, got {at_most}")
        self.share, self.at_most, self.pool, self.stage = share, at_most, pool, stage
        self.stages = (pool,)
        self.schema = schema
        self.scorer = PoolScorer(find_stage(stages, stage))

    def is_enabled(self, request: Request) -> bool:
        """Whether the request is a shadow request."""
        return _hash(request.request_id) < self.share * 2**64

    def run(self, request: Request, page: Page) -> None:
        if page.trace.has_fallback():
            self.leave_out()
            return
        pool = page.scored[self.pool]
        if len(pool) > self.at_most:
            generator = np.random.default_rng(_hash(request.request_id))
            pool = pool.take(np.sort(generator.choice(len(pool), self.at_most, replace=False)))
        ranked, prerank = self.scorer.score(request, pool)
        self.log(request, ranked, shadow=True, prerank=prerank)


def _hash(request_id: str) -> int:
    """64 bits, the same in every process and version."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")
