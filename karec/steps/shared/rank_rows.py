"""Base class of the side effects that write the rank log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from karec.aggregates.events import WORK
from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.errors import Unavailable
from karec.logs.write import RankLogWriter
from karec.pipeline.step import SideEffect
from karec.pipeline.trace import RANDOMISED
from karec.pipeline.types import Array, Candidates, Page, Request

FLUSH_SECONDS = 5.0


class RankRows(SideEffect):
    """Writes rows of scored candidates into the rank log in ``folder``, with logits or without.

    Rows are kept in memory until there are ``part_rows`` of them, or the oldest is ``flush_seconds`` old.
    Then they become a part file, synced to the disk. A killed process loses at most the rows of its last
    ``flush_seconds``, and what was still in its queue. Rows that cannot be written, for example on a full
    disk, are dropped and counted.

    Settings:
        folder: folder of the rank log, relative to karec.toml.
        flush_seconds: a part is written when its oldest row has this age.
    """

    def __init__(
        self,
        bundle: Bundle | ItemTypeBundle,
        folder: Path,
        part_rows: int,
        flush_seconds: float,
        *,
        has_logits: bool = True,
    ) -> None:
        if part_rows <= 0:
            raise ValueError(f"part_rows must be positive, got {part_rows}")
        if not flush_seconds > 0:
            raise ValueError(f"flush_seconds must be positive, got {flush_seconds}")
        self.part_rows = part_rows
        self.flush_seconds = flush_seconds
        self._ranker = ranker = bundle.ranker if has_logits else None
        tasks, fingerprint = ((), "") if ranker is None else (ranker.tasks, ranker.fingerprint)
        item_type = bundle.name if isinstance(bundle, ItemTypeBundle) else WORK
        # The writer does not flush by size: ``due`` decides.
        self._writer = RankLogWriter(folder, tasks, None, ranker=fingerprint, item_type=item_type)
        self._left_out = 0
        self._oldest = 0.0  # time.monotonic() of the oldest row in memory

    def log(
        self,
        request: Request,
        ranked: Candidates,
        page: Page,
        *,
        shadow: bool = False,
        prerank: Array | None = None,
    ) -> None:
        """Adds one row per candidate of ``ranked``: its score and, with a ranker, its logits (N, T).

        Rows of a shadow request have no position on the page.

        Raises Unavailable if a logit is not finite, and logs nothing: the reader would reject the whole part.
        """
        if request.time_ms is None:
            raise ValueError("a request without time_ms cannot be logged")
        if self._ranker is None:
            logits, model_version = np.empty((len(ranked), 0), np.float32), page.versions["model"]
        else:
            logits, model_version = ranked.columns["logits"], self._ranker.model_version
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
            model_version=model_version,
            logits=logits,
            fused=ranked.scores,
            shadow=shadow,
            prerank=prerank,
            page_ids=None if shadow else _by_place(page, page.candidates.ids, -1),
            # which items other types follow depends on their scores: no position of a mixed page is random
            random_ids=() if shadow or page.places else page.trace.steps[-1].notes.get(RANDOMISED, ()),
            config_version=page.versions.get("config", ""),
            arms=page.arms,
            degraded=page.degraded,
            page_sources=() if shadow else _by_place(page, _sources(page), "").tolist(),
            page_teams=() if shadow else page.teams,
            steps_ms=None if shadow else page.trace.total_ms,
        )

    def count_unlogged_page(self) -> None:
        """Counts a page that is not logged: a fallback or a skipped scorer gives other scores or items."""
        self._left_out += 1

    def due(self) -> float | None:
        n_rows = self._writer.rows_held
        if not n_rows:
            return None
        return self._oldest + (0.0 if n_rows >= self.part_rows else self.flush_seconds)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def counts(self) -> Mapping[str, int]:
        unlogged = {"pages_left_out": self._left_out} if self._left_out else {}
        return {**self._writer.counts(), **unlogged}


def _sources(page: Page) -> Array:
    """Returns (P,) object: the names of each item's sources, joined by ";"."""
    names = page.source_names
    bits = page.candidates.sources.tolist()
    texts = {mask: ";".join(name for bit, name in enumerate(names) if mask >> bit & 1) for mask in {*bits}}
    return np.array([texts[mask] for mask in bits], object)


def _by_place(page: Page, values: Array, missing: Any) -> Array:
    """Returns ``values`` of the page's items by place; ``missing`` at places of other item types."""
    if not page.places:
        return values
    by_place = np.full(page.places[-1] + 1, missing, values.dtype)
    by_place[[*page.places]] = values
    return by_place
