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
    """Keeps items of creators that the user follows. Drops items without a row.

    Cost: O(N log F) for F followed creators.
    """

    reason = "creator not followed"
    needs = ("rows",)
    keeps_followed = True

    def __init__(self, schema: IndexSchema, snapshot: Snapshot) -> None:
        schema.check_column(CREATOR)
        if FOLLOWS not in snapshot.relations:
            raise ValueError(
                f"the snapshot has no relation {FOLLOWS!r}, it has {list(snapshot.relations)}: publish "
                f"follows, "
                "or remove the step"
            )
        self.schema = schema
        self.snapshot = snapshot

    def keep(self, request: Request, candidates: Candidates) -> Array:
        follows = request.online_list(FOLLOWS)
        if follows is None:
            user = self.snapshot.users.row(request.user_number)
            follows = np.empty(0, np.int64) if user < 0 else self.snapshot.relations[FOLLOWS].row_values(user)
        creators = request.index.gather(CREATOR, candidates.rows)
        return np.asarray((candidates.rows >= 0) & (np.isin(creators, follows) == self.keeps_followed))
