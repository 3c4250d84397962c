"""Filter that drops items that the user may not see."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import related_now

AGE = "age"  # column of users, in years
EVERYWHERE = -1


class Visible(Filter):
    """Drops items of muted creators, for older users, of other regions, or without a row.

    Settings:
        min_age: column of the index, the lowest age in years. Users have the column ``age``; 0 if unknown.
        region: integer column of the index and of users with the same codes; -1 means every region.

    Cost: O(N log M) for M muted creators.
    """

    reason = "not visible to the user"
    needs = ("rows",)

    def __init__(
        self, schema: IndexSchema, snapshot: Snapshot, min_age: str | None = None, region: str | None = None
    ) -> None:
        for column in (CREATOR, min_age, region):
            if column is not None:
                schema.check_column(column, is_integer=column != min_age)
        for column in (None if min_age is None else AGE, region):
            if column is not None and column not in snapshot.users.columns:
                raise ValueError(
                    f"users have no column {column!r}; they have {sorted(snapshot.users.columns)}"
                )
        self.schema = schema
        self.snapshot = snapshot
        self.min_age = min_age
        self.region = region

    def keep(self, request: Request, candidates: Candidates) -> Array:
        rows = candidates.rows
        kept = np.asarray(rows) >= 0
        muted = related_now(request, self.snapshot, "muted")
        if len(muted):
            kept &= np.isin(request.index.gather(CREATOR, rows), muted, invert=True)
        if self.min_age is not None:
            age = max(self._of_user(request, AGE), 0)
            kept &= ~(request.index.gather(self.min_age, rows) > age)  # NaN: no limit
        if self.region is not None:
            regions = request.index.gather(self.region, rows)
            kept &= (regions == EVERYWHERE) | (regions == self._of_user(request, self.region))
        return kept

    def _of_user(self, request: Request, column: str) -> float:
        """Returns the user's value, -1 for an unknown user."""
        row = self.snapshot.users.row(request.user_number)
        return -1 if row < 0 else self.snapshot.users[column][row].item()
