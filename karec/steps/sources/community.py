"""Source of items that the user's community enjoys or makes."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import COMMUNITY, CREATOR
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, works_at
from karec.steps.shared.postings import Postings, interleave, newest
from karec.steps.shared.segments import enjoyed_in


class Community(Source):
    """Alternates items that the community enjoyed, by their rate there, and items that members made, newest
    first.

    Publishing finds communities in the graph of follows, friendships and common items
    (``karec.refresh.communities``): the column ``community`` of users. Empty if the user has no community.
    """

    is_verified = True  # tests/steps/sources/test_community.py
    reason = "enjoyed or made by the user's community"

    def __init__(self, snapshot: Snapshot, quota: int) -> None:
        if COMMUNITY not in snapshot.users.columns:
            raise ValueError(
                f"the source community needs the users' column {COMMUNITY!r}; columns are "
                f"{list(snapshot.users.columns)}. Publishing computes it from follows, friends and histories "
                "(pip install 'karec[train]')"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.enjoyed = enjoyed_in(snapshot, COMMUNITY)
        self.made = _made_in(snapshot)

    def recall(self, request: Request) -> Candidates:
        user = self.snapshot.users.row(request.user_number)
        if user < 0 or (community := int(self.snapshot.users[COMMUNITY][user])) < 0:
            return Candidates.empty()
        members = np.array([community])
        lists = [self.enjoyed] if self.made is None else [self.enjoyed, self.made]
        spans = [postings.spans(members, self.quota) for postings in lists]
        allowed = allowed_works(request, self.snapshot)
        return works_at(request, self.snapshot, interleave(self.snapshot, spans, self.quota, allowed))


def _made_in(snapshot: Snapshot) -> Postings | None:
    """Returns the items of each community's members, newest first; None if items have no creators."""
    if CREATOR not in snapshot.works.columns:
        return None

    def build() -> Postings:
        creators = snapshot.users.lookup(snapshot.works[CREATOR])
        # the last entry is for creators who are not users
        community = np.append(snapshot.users[COMMUNITY], -1)[creators]
        return Postings.from_order(community, newest(snapshot))

    return snapshot.built.get("works made in communities", build)
