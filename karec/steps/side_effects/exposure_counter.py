"""Side effect that counts the impressions of each page for exposure control."""

from __future__ import annotations

import time
from collections.abc import Mapping

from karec.exposure.controller import ExposureController
from karec.pipeline.step import SideEffect
from karec.pipeline.types import Page, Request

FLUSH_SECONDS = 1.0


class ExposureCounter(SideEffect):
    """Adds each page to the scene's exposure counters. Pages are pending for one second at most.

    A scene with a table ``exposure`` has it as its first side effect.
    """

    needs = ("rows",)
    has_view = True
    stages = ()

    def __init__(self, exposure: ExposureController) -> None:
        self.exposure = exposure
        self._oldest_s = 0.0

    def run(self, request: Request, page: Page) -> None:
        if not self.exposure.n_pending:
            self._oldest_s = time.monotonic()
        self.exposure.add_page(request, page.candidates)

    def due(self) -> float | None:
        return self._oldest_s + FLUSH_SECONDS if self.exposure.n_pending else None

    def flush(self) -> None:
        self.exposure.apply_pending()

    def close(self) -> None:
        self.exposure.close()

    def counts(self) -> Mapping[str, int]:
        newest = self.exposure.newest
        return {
            "dual_variables_version": newest.version,
            "underexposed_items": len(newest.underexposed.ids),
            **self.exposure.sharing_counts(),
        }
