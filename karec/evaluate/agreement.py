"""Agreement of towers and ranker: the fraction of the ranker's best items of a pool that the towers keep.

A pool is a request of one user, with items sampled uniformly from those that were published before the
measured days. The towers keep the KEPT_FRACTION of a pool with the best scores, as pre-ranking does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.funnel import FEW_ITEMS, TOPS, means_with_intervals
from karec.evaluate.metrics.agreement import hit_rate
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.replay import pool_logits
from karec.samples.threads import map_in_order
from karec.times import Progress

N_POOLS, MAX_ITEMS = 200, 2_000
KEPT_FRACTION = 0.1  # at least max(TOPS) items

ScorePool = Callable[[int, NDArray[Any]], NDArray[Any]]
"""(example, item rows (N,)) → (N,) scores of the items for the user of the example."""


@dataclass(frozen=True, eq=False)
class RankedPools:
    """P pools of N items, of different users.

    rows            (P,) int64 row of ``examples`` that is the pool's request
    items           (P, N) int64 item rows of the snapshot
    ranker_scores   (P, N) fused scores of the ranker
    """

    examples: Examples
    rows: NDArray[Any]
    items: NDArray[Any]
    ranker_scores: NDArray[Any]

    @classmethod
    def from_ranker(
        cls,
        examples: Examples,
        ranker: OnnxModel,
        fusion: ObjectiveWeights,
        *,
        seed: int,
        threads: int = 0,
        progress: Progress | None = None,
    ) -> Self | None:
        """Samples pools of ``examples`` with ``seed`` and ranks them; None if there are too few items to cut.

        Cost: N_POOLS · MAX_ITEMS scores of the ranker at most. ``threads``: see ``map_in_order``.
        """
        generator = np.random.default_rng(seed)
        published = np.flatnonzero(examples.snapshot.published_ms <= examples.exposures.time_ms.min())
        n_items = min(len(published), MAX_ITEMS)
        if n_items < 2 * max(TOPS):
            return None
        first = np.unique(examples.user_rows, return_index=True)[1]
        rows = np.sort(generator.permutation(first)[:N_POOLS])
        items = np.stack([generator.choice(published, n_items, replace=False) for _ in rows])

        def rank_pool(pool: int) -> NDArray[Any]:
            return fusion(pool_logits(examples, int(rows[pool]), items[pool], ranker), ranker.tasks)

        ranker_scores = []
        for scores in map_in_order(rank_pool, range(len(rows)), threads):
            ranker_scores.append(scores)
            if progress is not None:
                progress(len(ranker_scores), len(rows), "ranker over pools of held-out days")
        return cls(examples, rows, items, np.stack(ranker_scores))

    @property
    def n_kept(self) -> int:
        return max(round(KEPT_FRACTION * int(self.items.shape[1])), *TOPS)

    def kept_fractions(self, score_pool: ScorePool) -> dict[int, NDArray[Any]]:
        """Returns {m: (P,) fraction of the ranker's best m that the ``n_kept`` best scores contain}."""
        pools = zip(self.rows.tolist(), self.items, strict=True)
        scores = np.stack([score_pool(row, items) for row, items in pools])
        return {top: hit_rate(scores, self.ranker_scores, top, self.n_kept) for top in TOPS}

    def agreement(self, score_pool: ScorePool) -> float:
        """Returns the mean fraction of the ranker's top max(TOPS) that is kept."""
        return float(self.kept_fractions(score_pool)[max(TOPS)].mean())

    def measure(self, score_pool: ScorePool, resamples: int = 200, seed: int = 0) -> dict[str, Any]:
        """Returns ``pools``, ``items`` and ``kept`` items of a pool, and ``means_with_intervals``."""
        users = self.examples.exposures.user_id[self.rows]
        history = self.examples.relations["history"].take(self.rows).latest(FEW_ITEMS)
        is_few = (history >= 0).sum(axis=1) < FEW_ITEMS
        fractions = self.kept_fractions(score_pool)
        sizes = {"pools": len(self.rows), "items": self.items.shape[1], "kept": self.n_kept}
        return sizes | means_with_intervals(fractions, users, is_few, resamples, seed)
