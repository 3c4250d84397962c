"""Rates of works among the users of a segment, for example an age band or a community.

    rate = (enjoyed + m·r) / (seen + m)    seen: enjoyed or skipped by users of the segment, according to the
                                           users' lists; m = PRIOR_SEEN
                                           r: rate of the work among all users

A work that no user of the segment has seen has the rate r. The lists hold the last entries of each user, so
rates are recent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.aggregates.rates import smoothed_rate
from karec.catalog.schema import is_named
from karec.catalog.snapshot import Snapshot
from karec.pipeline.types import Array
from karec.steps.shared.postings import Postings, lists_of_users, popularity

PRIOR_SEEN = 5.0


@dataclass(frozen=True, eq=False)
class SeenBySegment:
    """M pairs of a segment and a work that its users saw, in order of segments.

    ``row``: the work's row. ``enjoyed``: number of users who enjoyed it. ``rate``: the smoothed rate.
    """

    segment: Array
    row: Array
    enjoyed: Array
    rate: Array


def enjoyed_in(snapshot: Snapshot, column: str) -> Postings:
    """Returns, for each value of the users' ``column``, the works that its users enjoyed, by rate."""

    def build() -> Postings:
        seen_works = seen_by_segment(snapshot, column)
        is_enjoyed = seen_works.enjoyed > 0
        lists = Postings.build(seen_works.segment[is_enjoyed], seen_works.rate[is_enjoyed])
        return Postings(lists.keys, lists.indptr, seen_works.row[is_enjoyed].astype(np.int32)[lists.rows])

    return snapshot.built.get(("enjoyed in segment", column), build)


def seen_by_segment(snapshot: Snapshot, column: str) -> SeenBySegment:
    """Returns the works seen by the users of each value of ``column``. Missing values are no segment.

    Cost: O(E log E) for E entries of the lists, once.
    """
    return snapshot.built.get(("seen by segment", column), lambda: _seen_by_segment(snapshot, column))


def _seen_by_segment(snapshot: Snapshot, column: str) -> SeenBySegment:
    segment_of = np.asarray(snapshot.users[column], np.int64)
    segments, rows, enjoyed = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for relation, is_enjoyed in (("history", 1.0), ("skipped", 0.0)):
        if relation in snapshot.relations:
            lists = lists_of_users(snapshot, relation)
            segment = np.repeat(segment_of, np.diff(lists.indptr))
            is_member = np.asarray(is_named(column, segment))
            segments.append(segment[is_member])
            rows.append(lists.rows[is_member])
            enjoyed.append(np.full(len(segments[-1]), is_enjoyed))
    n = max(len(snapshot.works), 1)
    pairs, pair_of_entry = np.unique(np.concatenate(segments) * n + np.concatenate(rows), return_inverse=True)
    positives = np.bincount(pair_of_entry, weights=np.concatenate(enjoyed), minlength=len(pairs))
    n_seen = np.bincount(pair_of_entry, minlength=len(pairs))
    segment, row = np.divmod(pairs, n)
    rate = smoothed_rate(positives, n_seen, popularity(snapshot)[row], PRIOR_SEEN)
    return SeenBySegment(segment, row, positives, rate)
