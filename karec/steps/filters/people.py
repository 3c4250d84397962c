"""Filters by who made an item and who asks: followed creators alone, or none of them; not one's own; one's
own city.

The maker is the column ``creator_id`` of the item index: of a work its creator, of a live room its host, of a
song room its owner, of a creator the creator. An item that the index does not know is dropped by all of them.
"""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import CREATOR, is_named
from karec.catalog.snapshot import Snapshot
from karec.index import ItemIndex
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request

FOLLOWS = "follows"


class NotOwn(Filter):
    """Drops what the user made, and among creators the user. O(N)."""

    reason = "one's own"
    needs = ("rows",)

    def __init__(self, index: ItemIndex) -> None:
        _need_column(index, CREATOR)
        self.index = index

    def keep(self, request: Request, candidates: Candidates) -> Array:
        made_by = request.index.gather(CREATOR, candidates.rows)
        # a stranger's number is as negative as nobody's
        own = (made_by == request.user_number) & (made_by >= 0)
        return np.asarray((candidates.rows >= 0) & ~own)


class Followed(Filter):
    """Keeps what creators made whom the user follows. O(N log follows)."""

    reason = "of nobody whom the user follows"
    needs = ("rows",)
    wanted = True

    def __init__(self, index: ItemIndex, snapshot: Snapshot) -> None:
        _need_column(index, CREATOR)
        if FOLLOWS not in snapshot.relations:
            raise ValueError(
                f"nobody knows who follows whom: the snapshot has no relation {FOLLOWS!r}, it has "
                f"{list(snapshot.relations)}"
            )
        self.index = index
        self.snapshot = snapshot

    def keep(self, request: Request, candidates: Candidates) -> Array:
        follows = request.online_list(FOLLOWS)
        if follows is None:
            user = self.snapshot.users.row(request.user_number)
            follows = np.empty(0, np.int64) if user < 0 else self.snapshot.relations[FOLLOWS].of(user)
        made_by = request.index.gather(CREATOR, candidates.rows)
        return np.asarray((candidates.rows >= 0) & (np.isin(made_by, follows) == self.wanted))


class NotFollowed(Followed):
    """Drops what creators made whom the user follows already. O(N log follows)."""

    reason = "followed already"
    wanted = False


class AsUser(Filter):
    """Keeps items whose ``column`` has the value that the user's column of that name has, as one's own city.

    A user who is unknown, or whose value is (below 0, or no family), keeps nothing. O(N).
    """

    needs = ("rows",)

    def __init__(self, index: ItemIndex, snapshot: Snapshot, column: str) -> None:
        _need_column(index, column)
        if column not in snapshot.users.columns:
            raise ValueError(f"users have no column {column!r}; they have {sorted(snapshot.users.columns)}")
        self.index = index
        self.snapshot = snapshot
        self.column = column
        self.reason = f"of another {column}"

    def keep(self, request: Request, candidates: Candidates) -> Array:
        user = self.snapshot.users.row(request.user_number)
        if user < 0 or not is_named(self.column, own := self.snapshot.users[self.column][user]):
            return np.zeros(len(candidates), bool)
        return np.asarray(
            (candidates.rows >= 0) & (request.index.gather(self.column, candidates.rows) == own)
        )


def _need_column(index: ItemIndex, name: str) -> None:
    if name not in index.columns:
        raise ValueError(f"the item index has no column {name!r}; it has {sorted(index.columns)}")
