"""How works do among the users of one segment (one age band, one community), in one scene, and among both.

    rate = (enjoyed / l + m·r) / (seen + m)    seen = enjoyed + passed over, by the segment's users, in the
                                               scene, as users' lists say; m = PRIOR_SEEN
                                               r    = the work's popularity with everybody; of a segment in a
                                                    scene its
                                                      rate in the scene
                                               l    = how much oftener a work is enjoyed in the scene than in
                                                    all

A work that nobody of the segment has seen in the scene has the rate r. Lists are as long as the snapshot
keeps them, so that a rate is of what its users saw last. By l works seen in a scene where little is enjoyed
do not stand behind those that were never seen there.
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
EVERYBODY = -1  # the segment of who is in none


@dataclass(frozen=True, eq=False)
class SeenBySegment:
    """M pairs of a segment and a work that its users saw: ``segment``, ``row``, how many of them ``enjoyed``
    it, and the smoothed ``rate``; ordered by segment.
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
    """Of each value of the users' ``column``; one that is missing is no segment. O(entries of the lists ·
    log)."""
    return _rated(snapshot, _entries(snapshot, column), popularity(snapshot))


def seen_in_scenes(
    snapshot: Snapshot, column: str | None
) -> dict[int, tuple[SeenBySegment, SeenBySegment | None]]:
    """{code of a scene: (what was seen there, all of it in the segment EVERYBODY; by value of ``column``,
    None without a column)}, of the scenes in which a list has an entry. O(scenes · (entries · log + works)).
    """
    everybody = _entries(snapshot, None)
    segments = None if column is None else _entries(snapshot, column)
    overall, found = everybody.enjoyed.mean() if len(everybody.enjoyed) else 0.0, {}
    for scene in np.unique(everybody.scene[everybody.scene >= 0]).tolist():
        there = everybody.take(everybody.scene == scene)
        n = len(there.enjoyed)
        oftener = (
            (there.enjoyed.sum() + PRIOR_SEEN * overall) / ((n + PRIOR_SEEN) * overall) if overall else 1.0
        )
        rate = popularity(snapshot)
        all_of_it = _rated(snapshot, there, rate, oftener)
        by_segment = None
        if segments is not None:
            rate = rate.copy()
            rate[all_of_it.row] = all_of_it.rate
            by_segment = _rated(snapshot, segments.take(segments.scene == scene), rate, oftener)
        found[scene] = all_of_it, by_segment
    return found


@dataclass(frozen=True, eq=False)
class _Entries:
    """Of users' lists: the ``segment`` of the user, the work's ``row``, 1.0 where it was ``enjoyed``, and the
    ``scene``, −1 where it is not known."""

    segment: Array
    row: Array
    enjoyed: Array
    scene: Array

    def take(self, kept: Array) -> _Entries:
        return _Entries(self.segment[kept], self.row[kept], self.enjoyed[kept], self.scene[kept])


def _entries(snapshot: Snapshot, column: str | None) -> _Entries:
    """Of the users who are in a segment; without ``column`` of all, in EVERYBODY."""
    if column is None:
        segment_of = np.full(len(snapshot.users), EVERYBODY)
        is_in = np.ones(len(segment_of), bool)
    else:
        segment_of = np.asarray(snapshot.users[column], np.int64)
        is_in = is_named(column, segment_of)
    parts = [_Entries(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.float64, np.int16)))]
    for relation, is_enjoyed in (("history", 1.0), ("skipped", 0.0)):
        if relation in snapshot.relations:
            lists = lists_of_users(snapshot, relation)
            user = np.repeat(np.arange(len(segment_of)), np.diff(lists.indptr))
            scene = np.full(len(user), -1, np.int16) if lists.scenes is None else lists.scenes
            known = is_in[user]
            user = user[known]
            parts.append(
                _Entries(
                    segment_of[user],
                    lists.rows[known],
                    np.full(len(user), is_enjoyed),
                    np.asarray(scene[known]),
                )
            )
    columns = ("segment", "row", "enjoyed", "scene")
    return _Entries(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def _rated(snapshot: Snapshot, entries: _Entries, near: Array, oftener: float = 1.0) -> SeenBySegment:
    """Pairs of segment and work, whose rates are smoothed towards ``near (works,)``."""
    n = max(len(snapshot.works), 1)
    pairs, which = np.unique(entries.segment * n + entries.row, return_inverse=True)
    positives = np.bincount(which, weights=entries.enjoyed, minlength=len(pairs))
    seen = np.bincount(which, minlength=len(pairs))
    segment, row = np.divmod(pairs, n)
    rate = smoothed_rate(positives / oftener, seen, near[row], PRIOR_SEEN)
    return SeenBySegment(segment, row, positives, rate)
