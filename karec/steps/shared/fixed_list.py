"""A list of works that is the same in many requests, with its rows in the item index as the newest of them
saw it."""

from __future__ import annotations

from typing import Self

from karec.pipeline.types import Array, Candidates, Request


class FixedList:
    """``works``, whose rows are looked up once for each generation of the index, by the first request that
    sees it.

    Any thread may ask: whoever sees an older generation meanwhile looks up its rows again.
    """

    def __init__(self, works: Candidates) -> None:
        self._works = works

    @classmethod
    def of(cls, ids: Array) -> Self:
        return cls(Candidates.from_ids(ids))

    def __len__(self) -> int:
        return len(self._works)

    @property
    def ids(self) -> Array:
        return self._works.ids

    def seen_by(self, request: Request) -> Candidates:
        """The works, with their rows where the request has an index. O(1), and O(N) in another generation."""
        works, view = self._works, request.view
        if view is None or view.has_rows(works.rows):
            return works
        self._works = works = works.with_rows(view.lookup(works.ids))
        return works
