"""A list of items that is the same in many requests, with its rows in the newest index view."""

from __future__ import annotations

from typing import Self

from karec.pipeline.types import Array, Candidates, Request


class FixedList:
    """Items whose rows are looked up once per index generation, by the first request that sees it.

    Any thread may call it. A thread that sees an older generation meanwhile looks up the rows again.
    """

    def __init__(self, items: Candidates) -> None:
        self._items = items

    @classmethod
    def from_ids(cls, ids: Array) -> Self:
        return cls(Candidates.from_ids(ids))

    def __len__(self) -> int:
        return len(self._items)

    @property
    def ids(self) -> Array:
        return self._items.ids

    def candidates(self, request: Request) -> Candidates:
        """Returns the items, with rows if the request has an index view.

        Cost: O(1), or O(N) for the first request of an index generation.
        """
        items, view = self._items, request.view
        if view is None or view.has_rows(items.rows):
            return items
        self._items = items = items.with_rows(view.lookup(items.ids))
        return items
