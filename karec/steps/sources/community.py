"""Community recall: what people of the user's community enjoy, and what they make.

A community is a group of the graph of who follows, befriends and watches the same as whom; it is found
offline and stands in the snapshot as the users' column ``community`` (``karec.refresh.communities``),
negative for a user of none.
"""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import COMMUNITY, CREATOR
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.postings import Postings, interleave, newest, user_row, works_at
from karec.steps.shared.segments import enjoyed_in


class Community(Source):
    """In turns: works that the community's members enjoyed, by their rate among them, and works that members
    made, newest first. Nothing for a user of no community.
    """

    is_verified = True  # tests/steps/sources/test_community.py
    reason = "works that the user's community enjoys or makes"

    def __init__(self, snapshot: Snapshot, quota: int) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        if COMMUNITY not in snapshot.users.columns:
            raise ValueError(
                f"community recall needs the users' column {COMMUNITY!r}, which publishing finds from "
                f"follows, friends "
                f"and histories (pip install 'karec[train]'); columns are {list(snapshot.users.columns)}"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.enjoyed = enjoyed_in(snapshot, COMMUNITY)
        self.made = _made_in(snapshot)

    def recall(self, request: Request) -> Candidates:
        user = user_row(self.snapshot, request.user_number)
        if user < 0 or (community := int(self.snapshot.users[COMMUNITY][user])) < 0:
            return Candidates.empty()
        here = np.array([community])
        lists = [of.spans(here, self.quota) for of in (self.enjoyed, self.made) if of is not None]
        return works_at(self.snapshot, interleave(self.snapshot, lists, self.quota))


def _made_in(snapshot: Snapshot) -> Postings | None:
    """For each community the works that its members made, newest first; None where works have no creators."""
    if CREATOR not in snapshot.works.columns:
        return None

    def build() -> Postings:
        maker = snapshot.users.lookup(snapshot.works[CREATOR])
        community = np.append(snapshot.users[COMMUNITY], -1)[maker]  # the last is of who is no user
        return Postings.of_order(community, newest(snapshot))

    return snapshot.built.get("works made in communities", build)
