"""Live rooms and song rooms: which of them are on changes by the minute, and is read off the index's
blocks."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.index import IndexSchema
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import popularity


class OpenNow(Source):
    """The ``quota`` most popular of the items that are on: in the index, and not blocked there.

    Computed once for each generation of the index, by the first request that sees it: O(N·D). Presence
    changes by ``block`` and ``unblock`` of the index (``karec.bundle.item_types.ItemTypeBundle.show_only``),
    and nothing is published.
    """

    def __init__(self, schema: IndexSchema, snapshot: Snapshot, quota: int) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        self.schema = schema
        self.quota = quota
        self.snapshot = snapshot
        self._found: tuple[int, Array] = (-1, np.empty(0, np.int64))

    def recall(self, request: Request) -> Candidates:
        generation, ids = self._found
        if generation != request.index.generation:
            ids = self._on(request)
            self._found = request.index.generation, ids
        return Candidates.from_ids(ids)

    def _on(self, request: Request) -> Array:
        ids = request.index.ids[request.index.present]
        ids = ids[request.index.is_open(ids=ids)]
        row = self.snapshot.works.lookup(ids)
        liked = np.append(popularity(self.snapshot), 0.0)  # the last is of an item that came since
        return np.asarray(ids[np.argsort(-liked[row], kind="stable")[: self.quota]])
