"""Social recall: works of followed creators and of friends, and works that friends and family liked or watched."""

from __future__ import annotations

import numpy as np

from karec.platform.schema import NO_FAMILY
from karec.platform.snapshot import Snapshot
from karec.recall.postings import interleave, newest_by_creator, users_by_family
from karec.stage import Source
from karec.types import Array, Candidates, Request


class Social(Source):
    """Lists read in turns: of each followed creator and friend their own works, newest first; of each friend and family
    member (where users have the column ``family``) the works they liked and those they watched, latest first.

    quota       works in all
    people      friends at most, and family members at most
    per_person  works of a list
    """

    def __init__(self, snapshot: Snapshot, quota: int, people: int = 200, per_person: int = 200) -> None:
        if quota <= 0 or people <= 0 or per_person <= 0:
            raise ValueError(f"quota, people and per_person must be positive, got {quota}, {people} and {per_person}")
        self.snapshot = snapshot
        self.quota = quota
        self.people = people
        self.per_person = per_person
        self.made = newest_by_creator(snapshot)
        self.families = users_by_family(snapshot)
        follows = self.made is not None and bool(snapshot.meaning.followed or "follows" in snapshot.relations)
        if not follows and self.families is None and "friends" not in snapshot.relations:
            raise ValueError(
                "social recall needs people: a relation friends, users with a family, or creators of works whom users "
                f"follow; relations are {list(snapshot.relations)}"
            )

    def recall(self, request: Request) -> Candidates:
        users = self.snapshot.users
        user = int(users.lookup(np.array([request.user_number]))[0])
        if user < 0:
            return Candidates.empty()
        followed = self._related("follows", user)
        friends = self._related("friends", user)[: self.people]
        circle = np.concatenate([users.lookup(friends), self._family(user)])
        made = self.made
        lists = [] if made is None else [made.of(int(c), self.per_person) for c in (*followed, *friends)]
        lists += [liked for member in circle if member >= 0 for liked in self._enjoyed_by(int(member))]
        rows = interleave([part for part in lists if len(part)], self.quota)
        return Candidates.of(self.snapshot.works.ids[rows])

    def _related(self, relation: str, user: int) -> Array:
        known = self.snapshot.relations.get(relation)
        return np.empty(0, np.int64) if known is None else np.asarray(known.of(user))

    def _family(self, user: int) -> Array:
        if self.families is None or (family := int(self.snapshot.users["family"][user])) <= NO_FAMILY:
            return np.empty(0, np.int64)
        members = self.families.of(family, self.people)
        return np.asarray(members[members != user])

    def _enjoyed_by(self, member: int) -> list[Array]:
        enjoyed = (self._related("liked", member)[::-1], self._related("history", member)[::-1])
        rows = [self.snapshot.works.lookup(works[: self.per_person]) for works in enjoyed if len(works)]
        return [found[found >= 0] for found in rows]
