"""How works do among the users of one segment: of one age band, of one community.

    rate = (enjoyed + m·r) / (seen + m)        seen = enjoyed + passed over, of the segment's users, as their lists say
                                               r    = the work's popularity with everybody, m = PRIOR_SEEN

A work that nobody of the segment has seen has the rate r. Lists are as long as the snapshot keeps them, so that a rate
is of what its users saw last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.platform.rates import smoothed_rate
from karec.platform.schema import is_named
from karec.platform.snapshot import Snapshot
from karec.recall.postings import Postings, lists_of_users, popularity
from karec.types import Array

PRIOR_SEEN = 5.0


@dataclass(frozen=True, eq=False)
class SeenBySegment:
    """M pairs of a segment and a work that its users saw: ``segment``, ``row``, how many of them ``enjoyed`` it, and
    the smoothed ``rate``; ordered by segment.
    """

    segment: Array
    row: Array
    enjoyed: Array
    rate: Array


def enjoyed_in(snapshot: Snapshot, column: str) -> Postings:
    """For each value of the users' ``column`` the works that its users enjoyed, by rate."""

    def build() -> Postings:
        seen = seen_by(snapshot, column)
        enjoyed = seen.enjoyed > 0
        lists = Postings.build(seen.segment[enjoyed], seen.rate[enjoyed])
        return Postings(lists.keys, lists.indptr, seen.row[enjoyed].astype(np.int32)[lists.rows])

    return snapshot.built.get(("enjoyed in segment", column), build)


def seen_by(snapshot: Snapshot, column: str) -> SeenBySegment:
    """Of each value of the users' ``column``; one that is missing is no segment. O(entries of the lists · log)."""
    n, segment_of = len(snapshot.works), np.asarray(snapshot.users[column], np.int64)
    segment_of = np.where(is_named(column, segment_of), segment_of, -1)
    keys, enjoyed = [np.empty(0, np.int64)], [np.empty(0)]
    for relation, is_enjoyed in (("history", 1.0), ("skipped", 0.0)):
        if relation in snapshot.relations:
            lists = lists_of_users(snapshot, relation)
            segment = np.repeat(segment_of, np.diff(lists.indptr))
            known = segment >= 0
            keys.append(segment[known] * n + lists.rows[known])
            enjoyed.append(np.full(int(known.sum()), is_enjoyed))
    pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
    positives = np.bincount(which, weights=np.concatenate(enjoyed), minlength=len(pairs))
    seen = np.bincount(which, minlength=len(pairs))
    segment, row = np.divmod(pairs, max(n, 1))
    rate = smoothed_rate(positives, seen, popularity(snapshot)[row], PRIOR_SEEN)
    return SeenBySegment(segment, row, positives, rate)
