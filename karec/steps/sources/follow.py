"""Follow recall: the new works of the creators whom a user follows."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.postings import interleave, newest_by_creator, related_now, works_at


class Follow(Source):
    """Of each followed creator the works, newest first, at most ``per_creator``; the creators take turns,
    those who were followed last first. Works that came since the bundle was made take their turns first.
    """

    is_verified = True  # tests/steps/sources/test_follow.py
    reason = "new works of creators whom the user follows"

    def __init__(self, snapshot: Snapshot, quota: int, per_creator: int = 200) -> None:
        if quota <= 0 or per_creator <= 0:
            raise ValueError(f"quota and per_creator must be positive, got {quota} and {per_creator}")
        made = newest_by_creator(snapshot)
        if made is None or not (snapshot.meaning.followed or "follows" in snapshot.relations):
            raise ValueError(
                "follow recall needs creators of works, and users who follow them; columns of works are "
                f"{list(snapshot.works.columns)}, relations are {list(snapshot.relations)}"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.per_creator = per_creator
        self.made = made

    def recall(self, request: Request) -> Candidates:
        followed = related_now(request, self.snapshot, "follows")[::-1]
        rows = interleave(self.snapshot, [self.made.spans(followed, self.per_creator)], self.quota)
        found = works_at(self.snapshot, rows)
        came = None if request.online is None else request.online.items.uploads
        if came is None or not len(came.works):
            return found
        made = newest_by_creator(came)
        assert made is not None  # its columns are the snapshot's
        new = came.works.ids[interleave(came, [made.spans(followed, self.per_creator)], self.quota)]
        return Candidates.from_ids(
            np.concatenate([new, found.ids])[: self.quota]
        )  # the snapshot has none of them
