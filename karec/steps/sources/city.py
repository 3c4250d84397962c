"""City recall: works of the user's own city."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import is_named
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.postings import category, interleave, newest_by, user_row, works_at, works_by


class City(Source):
    """In turns: the works of the user's city that are popular, and those that are new. Nothing for a user of
    none.

    ``column``, of users and of works: integers that mean the same in both, negative where nobody knows.
    """

    is_verified = True  # tests/steps/sources/test_city.py
    reason = "works of the user's city"

    def __init__(self, snapshot: Snapshot, quota: int, column: str = "city") -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        for name, table in (("users", snapshot.users), ("works", snapshot.works)):
            if column not in table.columns:
                raise ValueError(
                    f"city recall needs the column {column!r} of users and of works; columns of {name} are "
                    f"{list(table.columns)}"
                )
        self.snapshot = snapshot
        self.quota = quota
        self.column = column
        self.lists = (works_by(snapshot, column), newest_by(snapshot, column))
        self.city_of = category(snapshot.users, column)

    def recall(self, request: Request) -> Candidates:
        user = user_row(self.snapshot, request.user_number)
        if user < 0 or not is_named(self.column, city := self.city_of[user]):
            return Candidates.empty()
        here = np.array([city])
        rows = interleave(self.snapshot, [of.spans(here, self.quota) for of in self.lists], self.quota)
        return works_at(self.snapshot, rows)
