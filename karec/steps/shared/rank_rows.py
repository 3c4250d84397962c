"""What the observers share that write a rank log: rows held back, flushed by size and by time, counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from karec.errors import Unavailable
from karec.logs.write import RankLogWriter
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import SideEffect
from karec.pipeline.types import Array, Candidates, Request

FLUSH_SECONDS = 5.0


class RankRows(SideEffect):
    """Writes rows of the ranker's scores into the rank log in ``folder``.

    Rows are held back until there are ``part_rows`` of them, or the oldest is ``flush_seconds`` old; then
    they become a part file, synced to the disk. So a process that is killed loses at most what its last
    ``flush_seconds`` observed, and what was still in the queue. Rows that cannot be written (a full disk) are
    given up and counted as lost.
    """

    def __init__(self, ranker: OnnxModel, folder: Path, part_rows: int, flush_seconds: float) -> None:
        if part_rows <= 0:
            raise ValueError(f"part_rows must be positive, got {part_rows}")
        if not flush_seconds > 0:
            raise ValueError(f"flush_seconds must be positive, got {flush_seconds}")
        self.part_rows, self.flush_seconds = part_rows, flush_seconds
        self._model_version = ranker.model_version
        # ``due`` says when to flush
        self._writer = RankLogWriter(folder, ranker.tasks, part_rows=None, ranker=ranker.fingerprint)
        self._short_of_time = 0
        self._oldest = 0.0  # time.monotonic() of the oldest row held back

    def log(
        self, request: Request, ranked: Candidates, *, shadow: bool = False, prerank: Array | None = None
    ) -> None:
        """Hold back one row a work of ``ranked``: its column ``logits`` (N, T), its score as fused.

        Raises Unavailable, and logs nothing, when a logit is not finite: the log's reader would refuse the
        whole part.
        """
        if request.time_ms is None:
            raise ValueError("a request without time_ms cannot be logged")
        logits = ranked.columns["logits"]
        if not np.isfinite(logits).all():
            raise Unavailable("a logit is not finite: the request is not logged")
        if not self._writer.rows_held:
            self._oldest = time.monotonic()
        self._writer.append(
            request_id=request.request_id,
            user_id=request.user_number,
            item_ids=ranked.ids,
            scene=request.scene,
            time_ms=request.time_ms,
            model_version=self._model_version,
            logits=logits,
            fused=ranked.scores,
            shadow=shadow,
            prerank=prerank,
        )

    def leave_out(self) -> None:
        """Counts a page that is not logged: a fallback ran, which gives other scores or items."""
        self._short_of_time += 1

    def due(self) -> float | None:
        held = self._writer.rows_held
        if not held:
            return None
        return self._oldest + (0.0 if held >= self.part_rows else self.flush_seconds)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def counts(self) -> Mapping[str, int]:
        left_out = {"short_of_time": self._short_of_time} if self._short_of_time else {}
        return {**self._writer.counts(), **left_out}
