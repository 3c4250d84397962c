"""Filter that drops items that the user saw on other days."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request

LISTS = ("history", "skipped")


class NotSeen(Filter):
    """Drops items in the user's lists ``history`` and ``skipped``, of the online store if it has them.

    The step ``not_shown`` drops what this session was shown, ``not_consumed`` what the user ever consumed.

    Cost: O(N log S) for lists of S items.
    """

    reason = "seen on another day"

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def keep(self, request: Request, candidates: Candidates) -> Array:
        user = self.snapshot.users.row(request.user_number)
        lists = [np.empty(0, np.int64)]
        for name in LISTS:
            newest = request.online_list(name)
            if newest is not None:
                lists.append(newest)
            elif user >= 0 and name in self.snapshot.relations:
                lists.append(np.asarray(self.snapshot.relations[name].row_values(user)))
        return np.isin(candidates.ids, np.concatenate(lists), invert=True)
