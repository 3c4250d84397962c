"""Source of items from the user's city."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import is_named
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, works_at
from karec.steps.shared.postings import category, interleave, newest_by, works_by


class City(Source):
    """Alternates popular and new items of the user's city. Empty if the user has no city.

    Settings:
        column: integer column of users and of items with the same codes; negative if unknown.
    """

    is_verified = True  # tests/steps/sources/test_city.py
    reason = "of the user's city"

    def __init__(self, snapshot: Snapshot, quota: int, column: str = "city") -> None:
        for name, table in (("users", snapshot.users), ("works", snapshot.works)):
            if column not in table.columns:
                raise ValueError(
                    f"the source city needs the column {column!r} of users and of works; columns of {name} "
                    f"are "
                    f"{list(table.columns)}"
                )
        self.snapshot = snapshot
        self.quota = quota
        self.column = column
        self.lists = (works_by(snapshot, column), newest_by(snapshot, column))
        self.city_codes = category(snapshot.users, column)

    def recall(self, request: Request) -> Candidates:
        user = self.snapshot.users.row(request.user_number)
        if user < 0 or not is_named(self.column, city := self.city_codes[user]):
            return Candidates.empty()
        spans = [lists.spans(np.array([city]), self.quota) for lists in self.lists]
        rows = interleave(self.snapshot, spans, self.quota, allowed_works(request, self.snapshot))
        return works_at(request, self.snapshot, rows)
