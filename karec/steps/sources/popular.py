"""Source of popular items: of all users, or of one segment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, first_allowed, works_at
from karec.steps.shared.fixed_list import FixedList
from karec.steps.shared.postings import most_popular, popularity
from karec.steps.shared.segments import seen_by_segment


class Popular(Source):
    """The ``quota`` items with the highest rate of enjoyed impressions.

    Settings:
        segment: integer column of users, for example an age band. The rate is then the one in the user's
            segment. Absent, or a user without a segment: among all users.
    """

    is_verified = True  # tests/steps/sources/test_popular.py
    has_all = True
    reason = "enjoyed most often"

    def __init__(self, snapshot: Snapshot, quota: int, segment: str | None = None) -> None:
        users = snapshot.users.columns
        if segment is not None and (
            segment not in users or np.asarray(users[segment]).dtype.kind not in "iu"
        ):
            integers = [name for name, column in users.items() if np.asarray(column).dtype.kind in "iu"]
            raise ValueError(f"segment = {segment!r} is not an integer column of users; these are {integers}")
        self.snapshot = snapshot
        self.quota = quota
        self.segment = segment
        ids = snapshot.works.ids
        self.best = snapshot.built.get(
            ("most popular", quota), lambda: FixedList.from_ids(ids[most_popular(snapshot)[:quota]])
        )
        self.best_by_segment: Mapping[int, Array] = {}
        if segment is not None:
            self.best_by_segment = snapshot.built.get(
                ("most popular in", segment, quota), lambda: _top_in_each(snapshot, segment, quota)
            )

    def recall(self, request: Request) -> Candidates:
        allowed, segment = allowed_works(request, self.snapshot), None
        if self.segment is not None and (user := self.snapshot.users.row(request.user_number)) >= 0:
            segment = int(self.snapshot.users[self.segment][user])
        if segment not in self.best_by_segment:
            segment = None
        if allowed is not None:
            return works_at(request, self.snapshot, self._best_allowed(allowed, segment))
        if segment is not None:
            return works_at(request, self.snapshot, self.best_by_segment[segment])
        return self.best.candidates(request)

    def _best_allowed(self, allowed: Array, segment: int | None) -> Array:
        order = most_popular(self.snapshot)
        if segment is None or self.segment is None:
            return first_allowed(order, allowed, self.quota)
        seen_works = seen_by_segment(self.snapshot, self.segment)
        part = slice(*np.searchsorted(seen_works.segment, [segment, segment + 1]))
        rows, rates = seen_works.row[part], seen_works.rate[part]
        rows, rates = rows[allowed[rows]], rates[allowed[rows]]
        order = first_allowed(order, allowed, self.quota + len(rows))
        return _rerank(order, popularity(self.snapshot), rows, rates, self.quota)


def _top_in_each(snapshot: Snapshot, column: str, quota: int) -> Mapping[int, Array]:
    """Returns {segment: (quota,) int32 work rows}.

    Cost: O(works · log works + segments · (works + quota · log quota) + E log E) for E entries of the lists.
    """
    seen_works, order, rate = seen_by_segment(snapshot, column), most_popular(snapshot), popularity(snapshot)
    segments, begins = np.unique(seen_works.segment, return_index=True)
    parts = zip(segments.tolist(), begins, np.append(begins, len(seen_works.segment))[1:], strict=True)
    return {
        segment: _rerank(order, rate, seen_works.row[begin:end], seen_works.rate[begin:end], quota)
        for segment, begin, end in parts
    }


def _rerank(order: Array, rate: Array, rows: Array, rates: Array, n: int) -> Array:
    """Returns (n,) int32: the first n of ``order``, rows by ``rate``, after ``rows`` got ``rates``. Ties by
    row."""
    is_changed = np.zeros(len(rate), bool)
    is_changed[rows] = True
    begin = order[: n + len(rows)]
    begin = begin[~is_changed[begin]]
    candidates = np.concatenate([rows, begin])
    best = np.lexsort((candidates, -np.concatenate([rates, rate[begin]])))[:n]
    return candidates[best].astype(np.int32)
