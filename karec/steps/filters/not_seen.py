"""What the user has seen on other days: the lists that the platform keeps of it."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request

LISTS = ("history", "skipped")


class NotSeen(Filter):
    """Drops works of the user's history and of those passed over, as they are known now: the last 100 of
    each.

    What the session was shown is ``not_shown``'s. A user whom the snapshot does not know has seen nothing.
    O(N log seen).
    """

    reason = "seen on another day"

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def keep(self, request: Request, candidates: Candidates) -> Array:
        user = self.snapshot.users.row(request.user_number)
        seen = [np.empty(0, np.int64)]
        for name in LISTS:
            now = request.online_list(name)
            if now is not None:
                seen.append(now)
            elif user >= 0 and name in self.snapshot.relations:
                seen.append(np.asarray(self.snapshot.relations[name].of(user)))
        return np.isin(candidates.ids, np.concatenate(seen), invert=True)
