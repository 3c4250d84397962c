"""Logs every work that a stage ranked, for every request."""

from __future__ import annotations

from pathlib import Path

from karec.models.onnx_model import OnnxModel
from karec.observe.shared_log import PART_ROWS, SharedLog
from karec.stage import Observer
from karec.types import Recommendation, Request


class RankLogObserver(Observer):
    """Logs every work that the stage ``stage`` scored, for every request, into ``folder`` (relative to
    the config's). Threads may share it.

    Rows reach the disk every ``part_rows`` rows and at ``close``.
    """

    needs = ("column.logits", "scores")

    def __init__(
        self, ranker: OnnxModel, config_folder: Path, folder: str, stage: str = "rank", part_rows: int = PART_ROWS
    ) -> None:
        if part_rows <= 0:
            raise ValueError(f"part_rows must be positive, got {part_rows}")
        self.stage = stage
        self._log = SharedLog(config_folder / folder, ranker, part_rows)

    def observe(self, request: Request, recommendation: Recommendation) -> None:
        self._log.append(request, recommendation.scored[self.stage])

    def close(self) -> None:
        self._log.close()
