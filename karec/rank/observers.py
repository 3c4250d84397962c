"""What is logged after the answer: every work that was ranked, and for a share of requests the whole pool.

Logs of what was ranked hold only what prerank let through. A shadow request has the rank stage score everything that
prerank could have chosen from, so that towers can learn, and be judged, on what nobody was shown.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from karec.errors import ContractError, Unavailable
from karec.index import ItemIndex
from karec.onnx_model import OnnxModel
from karec.rank.log import RankLogWriter
from karec.stage import Observer, Stage
from karec.types import Array, Candidates, Recommendation, Request

CHUNK = 4096  # works that are ranked at once: bounds memory, and costs no time
PART_ROWS = 100_000
COLUMNS = ("ids", "rows", "scores", "sources")


class _SharedLog:
    """A rank log that threads write to: only appending is under the lock."""

    def __init__(self, folder: Path, ranker: OnnxModel, part_rows: int) -> None:
        self._model_version = ranker.model_version
        self._writer = RankLogWriter(folder, ranker.tasks, part_rows)
        self._lock = threading.Lock()

    def append(
        self, request: Request, ranked: Candidates, *, shadow: bool = False, prerank: Array | None = None
    ) -> None:
        """What the ranker said of ``ranked``: its column ``logits`` (N, T), and scores as fused."""
        with self._lock:
            self._writer.append(
                request_id=request.request_id,
                user_id=request.user_id,
                item_ids=ranked.ids,
                scene=request.scene,
                time_ms=_moment(request),
                model_version=self._model_version,
                logits=ranked.columns["logits"],
                fused=ranked.scores,
                shadow=shadow,
                prerank=prerank,
            )

    def close(self) -> None:
        with self._lock:
            self._writer.close()


class RankLogObserver(Observer):
    """Logs every work that the stage ``stage`` scored, for every request, into ``folder`` (relative to
    the config's). Threads may share it.

    Rows reach the disk every ``part_rows`` rows and at ``close``.
    """

    def __init__(
        self, ranker: OnnxModel, config_folder: Path, folder: str, stage: str = "rank", part_rows: int = PART_ROWS
    ) -> None:
        if part_rows <= 0:
            raise ValueError(f"part_rows must be positive, got {part_rows}")
        self.stage = stage
        self._log = _SharedLog(config_folder / folder, ranker, part_rows)

    def observe(self, request: Request, recommendation: Recommendation) -> None:
        self._log.append(request, recommendation.scored[self.stage])

    def close(self) -> None:
        self._log.close()


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
        self._log = _SharedLog(config_folder / folder, ranker, PART_ROWS)

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


class PoolScorer:
    """Both scorings of a pool, the ranker's and prerank's, as ``stage`` and the index would give them in serving."""

    def __init__(self, index: ItemIndex, stage: Stage) -> None:
        roles = [step.role for step in stage.steps]
        end = roles.index("selector") if "selector" in roles else len(roles)
        if "scorer" not in roles[:end]:
            raise ValueError(f"the stage {stage.name!r} has no scorer before its first selector: nothing to log")
        self.index = index
        self.stage = Stage(stage.name, stage.steps[:end])

    def score(self, request: Request, pool: Candidates) -> tuple[Candidates, Array]:
        """(the pool with its ``logits`` and fused scores, (N,) prerank's scores, NaN for works without a vector).

        Works that the stage filters out are left out. Raises Unavailable when a logit is not finite.
        """
        parts = [pool.take(rows) for rows in np.split(np.arange(len(pool)), range(CHUNK, len(pool), CHUNK))]
        ranked = _joined([self.stage.run(request, part).candidates for part in parts])
        if not np.isfinite(ranked.columns["logits"]).all():
            raise Unavailable("the ranker gave a logit that is not finite: the pool is not logged")
        if "user_vector" not in request.features:
            return ranked, np.full(len(ranked), np.nan, np.float32)
        scores = self.index.scores(request.features["user_vector"][0], ids=ranked.ids)
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


def _hash(request_id: str) -> int:
    """64 bits, the same in every process and version."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")


def _moment(request: Request) -> int:
    if request.time_ms is None:
        raise ValueError("a request without time_ms cannot be logged")
    return request.time_ms
