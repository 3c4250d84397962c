"""Side effect that logs all candidates that a stage scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.logs.ship import PartShipper
from karec.logs.write import PART_ROWS
from karec.pipeline.stage import Stage
from karec.pipeline.types import Page, Request
from karec.steps.shared.rank_rows import FLUSH_SECONDS, RankRows

DAYS = 30.0  # parts are kept


class RankLog(RankRows):
    """Logs all candidates that the stage ``stage`` scored into a rank log.

    Rows have the ranker's logits if a step of the stage gives them. A request whose stage ran its fallback,
    or skipped a scorer that failed, has other scores: it is left out and counted.

    Settings:
        stage: the stage whose scored candidates are logged.
        part_rows: a part is written when it has this number of rows.
        share: fraction in (0, 1] of requests that are logged; only the request's id decides.
        days: age at which parts are deleted in the folder and at the URL, those of other steps and hosts too.
        url: object store to which parts are uploaded. Absent: they stay in the folder.
    """

    needs: tuple[str, ...] = ("scores",)

    def __init__(
        self,
        bundle: Bundle | ItemTypeBundle,
        stages: Sequence[Stage],
        config_folder: Path,
        folder: str,
        stage: str = "rank",
        part_rows: int = PART_ROWS,
        flush_seconds: float = FLUSH_SECONDS,
        share: float = 1.0,
        days: float = DAYS,
        url: str | None = None,
    ) -> None:
        steps = [step for entry in stages if entry.name == stage for step in entry.steps]
        has_logits = any("column.logits" in step.gives for step in steps)
        super().__init__(bundle, config_folder / folder, part_rows, flush_seconds, has_logits=has_logits)
        if has_logits:
            self.needs = ("scores", "column.logits")  # of arms too, which share this step
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.share = share
        self._shipper = PartShipper(config_folder / folder, days, url)
        self.stage = stage
        self.stages = (stage,)

    def is_enabled(self, request: Request) -> bool:
        return request.seed < self.share * 2**64

    def run(self, request: Request, page: Page) -> None:
        if not page.trace.has_own_scores(self.stage):
            self.count_unlogged_page()
            return
        self.log(request, page.scored[self.stage], page)

    def flush(self) -> None:
        try:
            super().flush()
        finally:  # on a full disk too: old parts may be deleted
            self._shipper.start()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._shipper.close()

    def counts(self) -> Mapping[str, int]:
        return {**super().counts(), **self._shipper.counts()}
