"""A rank log that several threads append to."""

from __future__ import annotations

import threading
from pathlib import Path

from karec.logs.rank_log import RankLogWriter
from karec.models.onnx_model import OnnxModel
from karec.types import Array, Candidates, Request

PART_ROWS = 100_000


class SharedLog:
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


def _moment(request: Request) -> int:
    if request.time_ms is None:
        raise ValueError("a request without time_ms cannot be logged")
    return request.time_ms
