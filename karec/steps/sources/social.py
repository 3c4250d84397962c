"""Source of items that friends made, and that friends and family liked or watched."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import FAMILY, is_named
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, works_at
from karec.steps.shared.postings import (
    interleave,
    latest_of_users,
    newest_by_creator,
    related,
    users_by,
)


class Social(Source):
    """Alternates between lists of friends and family.

    The lists are: each friend's own items, newest first; then the items that each friend and family member
    liked, and those they watched, latest first. Users of family 0 have no family.

    Settings:
        people: maximum number of friends, and of family members.
        per_person: maximum number of items of one list.
    """

    is_verified = True  # tests/steps/sources/test_social.py
    reason = "made by friends, or liked or watched by friends or family"

    def __init__(self, snapshot: Snapshot, quota: int, people: int = 200, per_person: int = 200) -> None:
        if quota <= 0 or people <= 0 or per_person <= 0:
            raise ValueError(
                f"quota, people and per_person must be positive, got {quota}, {people} and {per_person}"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.people = people
        self.per_person = per_person
        self.made = newest_by_creator(snapshot)
        self.families = users_by(snapshot, FAMILY)
        self.lists = [latest_of_users(snapshot, relation) for relation in ("liked", "history")]
        if self.families is None and "friends" not in snapshot.relations:
            raise ValueError(
                "the source social needs a relation friends, or a column family of users; relations are "
                f"{list(snapshot.relations)}"
            )

    def recall(self, request: Request) -> Candidates:
        users = self.snapshot.users
        user = self.snapshot.users.row(request.user_number)
        if user < 0:
            return Candidates.empty()
        friends = related(self.snapshot, "friends", user)[: self.people]
        people = np.concatenate([users.lookup(friends), self._family(user)])
        people = np.unique(people[(people >= 0) & (people != user)])
        lists = (
            []
            if self.made is None
            else [self.made.spans(friends[friends != request.user_number], self.per_person)]
        )
        lists += [items.spans(people, self.per_person) for items in self.lists if items is not None]
        allowed = allowed_works(request, self.snapshot)
        return works_at(request, self.snapshot, interleave(self.snapshot, lists, self.quota, allowed))

    def _family(self, user: int) -> Array:
        if self.families is None or not is_named(FAMILY, family := self.snapshot.users[FAMILY][user]):
            return np.empty(0, np.int64)
        return self.families.rows_of(int(family), self.people)
