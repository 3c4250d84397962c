"""Prerank as a continuation of recall: works ordered by how they do with everybody, or with people like the
user.

The talk's first road: real-time indicators sort what recall found, and no model. An indicator is a label's
rate among a work's shows, smoothed towards its creator's rate, which is smoothed towards the mean of all
works. As live as the snapshot is.

A segment is the users of one value of a column: an age group, a city. What they enjoyed and passed over
lately, as the snapshot lists it, makes the work's lift with them: the share of it that they enjoyed over the
share that all did.

    r    = (E + m·e) / (N + m)          E of N entries of the work were enjoyed, e of all works' entries; m =
                                        20
    lift = (E_s + m·r) / (N_s + m) / r  the same of the segment's entries, near 1 while there are few
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.aggregates.indicators import indicator_weights, indicators
from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.catalog.schema import is_named
from karec.catalog.snapshot import Snapshot
from karec.index import ItemIndex
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request

# lists of the snapshot: the last works that a user enjoyed, and passed over
ENJOYED, PASSED = "history", "skipped"


class LiveIndicators(Scorer):
    """score = Σ weight · rate of the work, over the labels of ``weights``; times its lift with the user's
    segment.

    ``weights``: {label: weight}; None: of what says enjoyed the label that is counted last, and of what says
    liked, 1 each. ``segment``: an integer column of users; None: everybody alike. A work that the snapshot
    does not know has the mean of all, a user whom it does not know no segment. Built once a snapshot, as an
    index whose vectors are the rates of W works in S segments: W·(S + 1)·4 bytes. O(N·S) a request.
    """

    def __init__(
        self, snapshot: Snapshot, weights: Mapping[str, float] | None = None, segment: str | None = None
    ) -> None:
        self.weights = indicator_weights(snapshot, weights)
        self.snapshot = snapshot
        self.segments = np.full(len(snapshot.users), -1) if segment is None else _segments(snapshot, segment)
        key = ("live indicators", segment, *sorted(self.weights.items()))
        self.rates, self.mean = snapshot.built.get(key, lambda: _rates(snapshot, self.weights, self.segments))

    def score(self, request: Request, candidates: Candidates) -> Array:
        user = self.snapshot.users.row(request.user_number)
        segment = -1 if user < 0 else self.segments[user]
        picks = np.zeros(self.rates.dim, np.float32)
        picks[segment] = 1.0  # the last one is everybody
        scores = self.rates.scores(picks, ids=candidates.ids)
        return np.where(np.isneginf(scores), np.float32(self.mean), scores)


def _rates(snapshot: Snapshot, weights: Mapping[str, float], segments: Array) -> tuple[ItemIndex, float]:
    """(an index of the works with their rates in each segment and with everybody, the mean of all works)."""
    rates, mean = indicators(snapshot, weights)
    lifts = _lifts(snapshot, segments)
    return ItemIndex.build(
        snapshot.works.ids, (rates[:, None] * lifts).astype(np.float32), dtype="float32"
    ), mean


def _segments(snapshot: Snapshot, column: str) -> Array:
    """(users,) 0 … S − 1, one for each value of ``column``; −1 where the value is missing."""
    values = np.asarray(snapshot.users.columns.get(column, ()))
    if values.dtype.kind not in "iu" or column not in snapshot.users.columns:
        there = sorted(name for name, each in snapshot.users.columns.items() if each.dtype.kind in "iu")
        raise ValueError(f"segment = {column!r} is no integer column of users; there are {there}")
    if ENJOYED not in snapshot.relations or PASSED not in snapshot.relations:
        raise ValueError(
            f"segment = {column!r} needs the lists {ENJOYED} and {PASSED}, the platform keeps none"
        )
    named = is_named(column, values)
    segments = np.full(len(values), -1, np.int64)
    segments[named] = np.unique(values[named], return_inverse=True)[1]
    return segments


def _lifts(snapshot: Snapshot, segments: Array) -> Array:
    """(works, S + 1) float32: the lift of each work with each segment, 1 with everybody."""
    n_works, n_segments = len(snapshot.works), int(segments.max(initial=-1)) + 1
    lifts = np.ones((n_works, n_segments + 1), np.float32)
    if not n_segments:
        return lifts
    enjoyed, passed = (_works_by_segment(snapshot, name, segments, n_segments) for name in (ENJOYED, PASSED))
    of_all = np.bincount(np.concatenate(enjoyed), minlength=n_works)
    shown = of_all + np.bincount(np.concatenate(passed), minlength=n_works)
    rate = smoothed_rate(of_all, shown, mean_rate(of_all, shown))
    for segment in range(n_segments if of_all.any() else 0):
        liked, left = (np.bincount(works[segment], minlength=n_works) for works in (enjoyed, passed))
        lifts[:, segment] = smoothed_rate(liked, liked + left, rate) / rate
    return lifts


def _works_by_segment(snapshot: Snapshot, name: str, segments: Array, n_segments: int) -> list[Array]:
    """The work rows of the list ``name``, for the users of each segment."""
    relation = snapshot.relations[name]
    segment = np.repeat(segments, np.diff(relation.indptr))
    work = snapshot.works.lookup(relation.values)
    segment[work < 0] = -1
    order = np.argsort(segment, kind="stable")
    bounds = np.searchsorted(segment[order], np.arange(n_segments + 1))
    return [work[order[bounds[at] : bounds[at + 1]]] for at in range(n_segments)]
