"""Source of new items by followed creators."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, works_at
from karec.steps.shared.postings import (
    Postings,
    interleave,
    newest_by_creator,
    related_now,
    uploads_of,
)


class Follow(Source):
    """Alternates between followed creators, newest item first, at most ``per_creator`` of each creator.

    The creator followed last comes first. Items uploaded after the snapshot come before all others.

    Settings:
        per_creator: maximum number of items of one creator.
    """

    is_verified = True  # tests/steps/sources/test_follow.py
    reason = "new from followed creators"

    def __init__(self, snapshot: Snapshot, quota: int, per_creator: int = 200) -> None:
        if quota <= 0 or per_creator <= 0:
            raise ValueError(f"quota and per_creator must be positive, got {quota} and {per_creator}")
        made = newest_by_creator(snapshot)
        if made is None or not (snapshot.meaning.followed or "follows" in snapshot.relations):
            raise ValueError(
                "the source follow needs creators of works, and users who follow them; columns of works are "
                f"{list(snapshot.works.columns)}, relations are {list(snapshot.relations)}"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.per_creator = per_creator
        self.made = made

    def recall(self, request: Request) -> Candidates:
        creators = related_now(request, self.snapshot, "follows")[::-1]
        snapshot_items = works_at(
            request, self.snapshot, self._newest(request, self.snapshot, self.made, creators)
        )
        uploads = uploads_of(request)
        if uploads is None:
            return snapshot_items
        uploads_by_creator = newest_by_creator(uploads)
        assert uploads_by_creator is not None  # uploads have the columns of the snapshot
        new = uploads.works.ids[self._newest(request, uploads, uploads_by_creator, creators)]
        return Candidates.from_ids(np.concatenate([new, snapshot_items.ids])[: self.quota])

    def _newest(self, request: Request, snapshot: Snapshot, by_creator: Postings, creators: Array) -> Array:
        spans = by_creator.spans(creators, self.per_creator)
        return interleave(snapshot, [spans], self.quota, allowed_works(request, snapshot))
