"""Source of live rooms and song rooms that are open."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.index import IndexSchema
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import popularity


class OpenNow(Source):
    """The ``quota`` most popular items that are in the index and not blocked there.

    Events open and close rooms (``online.open_minutes``). The first request that reads an index generation
    computes the list: O(N log N).
    """

    def __init__(self, schema: IndexSchema, snapshot: Snapshot, quota: int) -> None:
        self.schema = schema
        self.quota = quota
        self.snapshot = snapshot
        self._open: tuple[int, Array] = (-1, np.empty(0, np.int64))  # index generation, ids

    def recall(self, request: Request) -> Candidates:
        generation, ids = self._open
        if generation != request.index.generation:
            ids = self._best_open(request)
            self._open = request.index.generation, ids
        if request.allowed is not None:
            ids = ids[request.allowed.at(request.index.lookup(ids))]
        return Candidates.from_ids(ids[: self.quota])

    def _best_open(self, request: Request) -> Array:
        ids = request.index.ids[request.index.present]
        ids = ids[request.index.is_open(ids=ids)]
        row = self.snapshot.works.lookup(ids)
        # the last entry is for items that the snapshot lacks
        liked = np.append(popularity(self.snapshot), 0.0)
        return np.asarray(ids[np.argsort(-liked[row], kind="stable")])
