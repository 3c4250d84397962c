"""Recall of works that do well: with everybody, with users of one's segment, by live indicators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.platform.indicators import indicator_weights, indicators
from karec.platform.snapshot import Snapshot
from karec.recall.postings import popularity, user_row
from karec.recall.segments import seen_by
from karec.stage import Source
from karec.types import Array, Candidates, Request


class Popular(Source):
    """The ``quota`` works that are enjoyed most often when they are shown (``postings.popularity``).

    ``segment``: an integer column of users (an age band, a gender); then a work's rate is that among the users of one's
    own segment (``segments``), and for a user of none that among all.
    """

    proven = True  # tests/recall/test_popular.py
    why = "works that most enjoy"

    def __init__(self, snapshot: Snapshot, quota: int, segment: str | None = None) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        users = snapshot.users.columns
        if segment is not None and (segment not in users or np.asarray(users[segment]).dtype.kind not in "iu"):
            integers = [name for name, column in users.items() if np.asarray(column).dtype.kind in "iu"]
            raise ValueError(f"segment = {segment!r} is no integer column of users; these are {integers}")
        self.snapshot = snapshot
        self.quota = quota
        self.segment = segment
        self.best = snapshot.built.get(
            ("most popular", quota), lambda: top_works(snapshot, popularity(snapshot), quota)
        )
        self.of_segment: Mapping[int, Array] = {}
        if segment is not None:
            key = ("most popular in", segment, quota)
            self.of_segment = snapshot.built.get(key, lambda: _top_in_each(snapshot, segment, quota))

    def recall(self, request: Request) -> Candidates:
        if self.segment is None:
            return self.best
        user = user_row(self.snapshot, request.user_number)
        segment = -1 if user < 0 else int(self.snapshot.users[self.segment][user])
        rows = self.of_segment.get(segment)
        return self.best if rows is None else Candidates.of(self.snapshot.works.ids[rows])


class Indicators(Source):
    """The ``quota`` works with the best live indicators: Σ weight · rate of a label (``platform.indicators``).

    ``weights``: {label: weight}, as the prerank step ``live_indicators`` takes them.
    """

    proven = True  # tests/recall/test_popular.py
    why = "works with the best indicators now"

    def __init__(self, snapshot: Snapshot, quota: int, weights: Mapping[str, float] | None = None) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        self.quota = quota
        self.weights = indicator_weights(snapshot, weights)
        key = ("best indicators", quota, *sorted(self.weights.items()))
        self.best = snapshot.built.get(
            key, lambda: top_works(snapshot, indicators(snapshot, self.weights)[0].astype(np.float32), quota)
        )

    def recall(self, request: Request) -> Candidates:
        return self.best


def top_works(snapshot: Snapshot, priority: Array, quota: int) -> Candidates:
    """The ``quota`` works of the highest priority, ties by row."""
    return Candidates.of(np.asarray(snapshot.works.ids)[_top(priority, quota)])


def _top(priority: Array, quota: int) -> Array:
    return np.argsort(-priority, kind="stable")[:quota]


def _top_in_each(snapshot: Snapshot, column: str, quota: int) -> Mapping[int, Array]:
    """{segment: (quota,) int32 work rows}. O(segments · works · log)."""
    seen, everywhere = seen_by(snapshot, column), popularity(snapshot)
    values, first = np.unique(seen.segment, return_index=True)
    ends = np.append(first, len(seen.segment))[1:]
    best = {}
    for value, begin, end in zip(values.tolist(), first, ends, strict=True):
        rates = everywhere.copy()
        rates[seen.row[begin:end]] = seen.rate[begin:end]
        best[value] = _top(rates, quota).astype(np.int32)
    return best
