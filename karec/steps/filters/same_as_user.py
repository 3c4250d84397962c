"""Filter that keeps items with the user's own value of a column."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import is_named
from karec.catalog.snapshot import Snapshot
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class SameAsUser(Filter):
    """Keeps items whose ``column`` has the value of the user's ``column``, for example of the user's city.

    Drops all items if the user is unknown or has no value. Drops items without a row.

    Settings:
        column: integer column of users and of the index with the same codes.

    Cost: O(N).
    """

    needs = ("rows",)

    def __init__(self, schema: IndexSchema, snapshot: Snapshot, column: str) -> None:
        schema.check_column(column)
        if column not in snapshot.users.columns:
            raise ValueError(f"users have no column {column!r}; they have {sorted(snapshot.users.columns)}")
        self.schema = schema
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
