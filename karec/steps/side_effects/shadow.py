"""Side effect that logs the ranker's scores of the whole pool, for a share of requests.

The rank log has only the items that pre-ranking selected. In a shadow request, the rank stage scores all
candidates of pre-ranking. The towers can learn from items that were never shown, and be measured on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.features.pool_scores import PoolScorer
from karec.index import IndexSchema
from karec.logs.write import PART_ROWS
from karec.pipeline.stage import Stage
from karec.pipeline.types import Page, Request
from karec.steps.shared.rank_rows import FLUSH_SECONDS, RankRows


class Shadow(RankRows):
    """Logs the ranker's and pre-ranking's scores of the whole pool, marked as shadow.

    The pool is the input of the first selector of the stage ``pool``. The ranker's scores are those of the
    steps of ``stage`` before its first selector. Pre-ranking's scores are ⟨user vector, item vector⟩,
    adjusted as in the index. A request that ran a fallback had another pool: it is left out and counted.

    Settings:
        share: fraction in (0, 1] of requests that are shadow requests; only the request's id decides.
        at_most: maximum number of items of a pool; from a larger one, items are drawn by the request's id.
        pool: the stage whose candidates are the pool.
        stage: the stage that scores them.
    """

    needs = ("column.logits", "scores")
    has_view = True

    def __init__(
        self,
        bundle: Bundle | ItemTypeBundle,
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
        super().__init__(bundle, config_folder / folder, PART_ROWS, flush_seconds)
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        if at_most <= 0:
            raise ValueError(f"at_most must be positive, got {at_most}")
        self.share = share
        self.at_most = at_most
        self.pool = pool
        self.stage = stage
        self.stages = (pool,)
        self.schema = schema
        self.scorer = PoolScorer(stages, stage)

    def is_enabled(self, request: Request) -> bool:
        """Returns True for a shadow request."""
        return request.seed < self.share * 2**64

    def run(self, request: Request, page: Page) -> None:
        if page.trace.has_fallback():
            self.count_unlogged_page()
            return
        pool = page.scored[self.pool]
        if len(pool) > self.at_most:
            generator = np.random.default_rng(request.seed)
            pool = pool.take(np.sort(generator.choice(len(pool), self.at_most, replace=False)))
        ranked, prerank = self.scorer.score(request, pool)
        self.log(request, ranked, page, shadow=True, prerank=prerank)
