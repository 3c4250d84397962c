"""Shadow requests: for a share of requests the ranker scores the whole pool, and the rank log keeps it.

Logs of what was ranked hold only what prerank let through. A shadow request has the rank stage score everything that
prerank could have chosen from, so that towers can learn, and be judged, on what nobody was shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from karec.errors import Unavailable
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.observe.pool_scorer import PoolScorer, stage_named
from karec.observe.shared_log import PART_ROWS, SharedLog
from karec.stage import Observer, Stage
from karec.types import Recommendation, Request


class Shadow(Observer):
    """Of a ``share`` of requests, logs the ranker's and prerank's scores of the whole pool, marked as shadow.

    The pool is what the stage ``pool`` had before its first selector; of more than ``at_most`` works so many are drawn
    at random, seeded by the request's id. The ranker's scores are those of the steps that the stage ``stage`` runs
    before its own first selector, prerank's are ⟨user vector, item vector⟩, adjusted as in the index. Which requests
    are chosen depends on their id alone. It runs after the answer, on the request's thread: the trace holds the time
    and the number of works. Whatever fails costs the log this pool and is named in ``degraded``; the feed stands.
    Threads may share it: only appending is under the lock.
    """

    on_failure = "skip"
    needs = ("column.logits", "scores")

    def __init__(
        self,
        ranker: OnnxModel,
        index: ItemIndex,
        stages: Sequence[Stage],
        config_folder: Path,
        folder: str,
        share: float,
        at_most: int = 100_000,
        pool: str = "prerank",
        stage: str = "rank",
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        if at_most <= 0:
            raise ValueError(f"at_most must be positive, got {at_most}")
        self.share, self.at_most, self.pool, self.stage = share, at_most, pool, stage
        self.scorer = PoolScorer(index, stage_named(stages, stage))
        self._log = SharedLog(config_folder / folder, ranker, PART_ROWS)

    def chooses(self, request_id: str) -> bool:
        """Whether a request is a shadow request."""
        return _hash(request_id) < self.share * 2**64

    def observe(self, request: Request, recommendation: Recommendation) -> Mapping[str, Any]:
        if not self.chooses(request.request_id):
            return {}
        pool = recommendation.scored[self.pool]
        n = len(pool)
        if n > self.at_most:
            drawn = np.random.default_rng(_hash(request.request_id)).choice(n, self.at_most, replace=False)
            pool = pool.take(np.sort(drawn))
        try:
            ranked, prerank = self.scorer.score(request, pool)
        except Exception as error:  # the feed stands already: not even a programming error may take it away
            raise Unavailable(f"the pool of {len(pool)} was not scored: {type(error).__name__}: {error}") from error
        self._log.append(request, ranked, shadow=True, prerank=prerank)
        return {"pool": n, "scored": len(ranked)}

    def close(self) -> None:
        self._log.close()


def _hash(request_id: str) -> int:
    """64 bits, the same in every process and version."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")
