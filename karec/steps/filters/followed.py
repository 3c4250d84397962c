"""Filter that keeps items of followed creators."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request

FOLLOWS = "follows"


class Followed(Filter):
    """Keeps what creators made whom the user follows. O(N log follows)."""

    reason = "of nobody whom the user follows"
    needs = ("rows",)
    wanted = True

    def __init__(self, schema: IndexSchema, snapshot: Snapshot) -> None:
        schema.check_column(CREATOR)
        if FOLLOWS not in snapshot.relations:
            raise ValueError(
                f"nobody knows who follows whom: the snapshot has no relation {FOLLOWS!r}, it has "
                f"{list(snapshot.relations)}"
            )
        self.schema = schema
        self.snapshot = snapshot

    def keep(self, request: Request, candidates: Candidates) -> Array:
        follows = request.online_list(FOLLOWS)
        if follows is None:
            user = self.snapshot.users.row(request.user_number)
            follows = np.empty(0, np.int64) if user < 0 else self.snapshot.relations[FOLLOWS].of(user)
        made_by = request.index.gather(CREATOR, candidates.rows)
        return np.asarray((candidates.rows >= 0) & (np.isin(made_by, follows) == self.wanted))
