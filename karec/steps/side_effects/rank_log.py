"""Side effect that logs all candidates that a stage scored."""

from __future__ import annotations

from pathlib import Path

from karec.logs.write import PART_ROWS
from karec.models.onnx_model import OnnxModel
from karec.pipeline.types import Page, Request
from karec.steps.shared.rank_rows import FLUSH_SECONDS, RankRows


class RankLog(RankRows):
    """Logs all candidates that the stage ``stage`` scored, for every request, into ``folder``, relative to
    the config's.

    A request whose stage ran its fallback has no scores of the ranker: it is left out and counted.
    ``part_rows`` and ``flush_seconds``: see ``RankRows``.
    """

    needs = ("column.logits", "scores")

    def __init__(
        self,
        ranker: OnnxModel,
        config_folder: Path,
        folder: str,
        stage: str = "rank",
        part_rows: int = PART_ROWS,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        super().__init__(ranker, config_folder / folder, part_rows, flush_seconds)
        self.stage = stage
        self.stages = (stage,)

    def run(self, request: Request, page: Page) -> None:
        if page.trace.has_fallback(self.stage):
            self.count_unlogged_page()
            return
        self.log(request, page.scored[self.stage])
