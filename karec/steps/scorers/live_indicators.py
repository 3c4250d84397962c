"""Scorer by live indicators: rates of items among all users, multiplied by the lift in the user's segment.

An indicator is the rate of a label per impression of an item. It is smoothed towards the rate of the item's
creator, which is smoothed towards the mean of all items. It is as new as the snapshot.

A segment is the users with one value of a column, for example an age group or a city. The lift of an item is
the fraction of the segment's latest list entries of the item that were enjoyed, over the same fraction of all
users.

    r    = (E + m·e) / (N + m)          E of N entries of the item were enjoyed; e: this fraction for all
                                        items; m = 20
    lift = (E_s + m·r) / (N_s + m) / r  the same for the segment's entries; near 1 if there are few
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

# relations of the snapshot: the last works that a user enjoyed, and those skipped
ENJOYED, SKIPPED = "history", "skipped"


class LiveIndicators(Scorer):
    """score = Σ weight · smoothed rate of the item, over labels, times its lift in the user's segment.

    The lift compares how often the users of the segment enjoyed the item with all users. An unknown item has
    the mean of all items; an unknown user has no segment.

    Settings:
        weights: factor of each label. Absent: 1 for the last counted label that means enjoyed and 1 for the
            one that means liked.
        segment: integer column of users, for example an age group. Absent: no lift.

    Cost: O(N·S) per request for S segments. Built once per snapshot: W·(S + 1)·4 bytes for W items.
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
        picks[segment] = 1.0  # the last column is of all users
        scores = self.rates.scores(picks, ids=candidates.ids)
        return np.where(np.isneginf(scores), np.float32(self.mean), scores)


def _rates(snapshot: Snapshot, weights: Mapping[str, float], segments: Array) -> tuple[ItemIndex, float]:
    """Returns an index of the works by their rates in each segment and among all users, and the mean rate."""
    rates, mean = indicators(snapshot, weights)
    lifts = _lifts(snapshot, segments)
    return ItemIndex.build(
        snapshot.works.ids, (rates[:, None] * lifts).astype(np.float32), dtype="float32"
    ), mean


def _segments(snapshot: Snapshot, column: str) -> Array:
    """Returns (users,) 0 … S − 1, one for each value of ``column``; −1 if the value is missing."""
    values = np.asarray(snapshot.users.columns.get(column, ()))
    if values.dtype.kind not in "iu" or column not in snapshot.users.columns:
        integers = sorted(name for name, array in snapshot.users.columns.items() if array.dtype.kind in "iu")
        raise ValueError(f"segment = {column!r} is not an integer column of users; these are {integers}")
    if ENJOYED not in snapshot.relations or SKIPPED not in snapshot.relations:
        raise ValueError(
            f"segment = {column!r} needs the relations {ENJOYED} and {SKIPPED}; there are "
            f"{list(snapshot.relations)}"
        )
    has_value = is_named(column, values)
    segments = np.full(len(values), -1, np.int64)
    segments[has_value] = np.unique(values[has_value], return_inverse=True)[1]
    return segments


def _lifts(snapshot: Snapshot, segments: Array) -> Array:
    """Returns (works, S + 1) float32: the lift of each work in each segment, then 1 for all users."""
    n_works, n_segments = len(snapshot.works), int(segments.max(initial=-1)) + 1
    lifts = np.ones((n_works, n_segments + 1), np.float32)
    if not n_segments:
        return lifts
    enjoyed, skipped = (
        _works_by_segment(snapshot, name, segments, n_segments) for name in (ENJOYED, SKIPPED)
    )
    n_enjoyed_by_all = np.bincount(np.concatenate(enjoyed), minlength=n_works)
    n_seen = n_enjoyed_by_all + np.bincount(np.concatenate(skipped), minlength=n_works)
    rate = smoothed_rate(n_enjoyed_by_all, n_seen, mean_rate(n_enjoyed_by_all, n_seen))
    for segment in range(n_segments if n_enjoyed_by_all.any() else 0):
        n_enjoyed, n_skipped = (
            np.bincount(works[segment], minlength=n_works) for works in (enjoyed, skipped)
        )
        lifts[:, segment] = smoothed_rate(n_enjoyed, n_enjoyed + n_skipped, rate) / rate
    return lifts


def _works_by_segment(snapshot: Snapshot, name: str, segments: Array, n_segments: int) -> list[Array]:
    """Returns the work rows in the relation ``name`` of the users of each segment."""
    relation = snapshot.relations[name]
    segment = np.repeat(segments, np.diff(relation.indptr))
    work = snapshot.works.lookup(relation.values)
    segment[work < 0] = -1
    order = np.argsort(segment, kind="stable")
    bounds = np.searchsorted(segment[order], np.arange(n_segments + 1))
    return [
        work[order[bounds[segment_number] : bounds[segment_number + 1]]]
        for segment_number in range(n_segments)
    ]
