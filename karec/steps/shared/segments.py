"""Rates of works among the users of a segment (an age band, a community), in a scene, or both.

    rate = (enjoyed / l + m·r) / (seen + m)    seen: enjoyed or skipped by users of the segment, in the scene,
                                               according to the users' lists; m = PRIOR_SEEN
                                               r: rate of the work among all users; for a segment in a scene,
                                                  its rate in the scene
                                               l: how much more often works are enjoyed in the scene than in
                                               all

A work that no user of the segment has seen in the scene has the rate r. The lists hold the last entries of
each user, so rates are recent. The factor l keeps works seen in a scene with few enjoyed works from ranking
behind works that were never seen there.
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
ALL_USERS = -1  # segment of all users


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

    Cost: O(E log E) for E entries of the lists.
    """
    return _rated(snapshot, _entries(snapshot, column), popularity(snapshot))


def seen_in_scenes(
    snapshot: Snapshot, column: str | None
) -> dict[int, tuple[SeenBySegment, SeenBySegment | None]]:
    """Returns {scene code: (works seen by all users, works seen by value of ``column``)} of scenes with
    entries.

    The first has the segment ALL_USERS. The second is None without a column.
    Cost: O(scenes · (E log E + works)) for E entries.
    """
    all_users = _entries(snapshot, None)
    segments = None if column is None else _entries(snapshot, column)
    overall = all_users.enjoyed.mean() if len(all_users.enjoyed) else 0.0
    rates = {}
    for scene in np.unique(all_users.scene[all_users.scene >= 0]).tolist():
        in_scene = all_users.take(all_users.scene == scene)
        n = len(in_scene.enjoyed)
        lift = (
            (in_scene.enjoyed.sum() + PRIOR_SEEN * overall) / ((n + PRIOR_SEEN) * overall) if overall else 1.0
        )
        rate = popularity(snapshot)
        of_all_users = _rated(snapshot, in_scene, rate, lift)
        by_segment = None
        if segments is not None:
            rate = rate.copy()
            rate[of_all_users.row] = of_all_users.rate
            by_segment = _rated(snapshot, segments.take(segments.scene == scene), rate, lift)
        rates[scene] = of_all_users, by_segment
    return rates


@dataclass(frozen=True, eq=False)
class _Entries:
    """Entries of the users' lists.

    ``segment``: of the user. ``row``: of the work. ``enjoyed``: 1.0 or 0.0. ``scene``: −1 if unknown.
    """

    segment: Array
    row: Array
    enjoyed: Array
    scene: Array

    def take(self, mask: Array) -> _Entries:
        return _Entries(self.segment[mask], self.row[mask], self.enjoyed[mask], self.scene[mask])


def _entries(snapshot: Snapshot, column: str | None) -> _Entries:
    """Returns the entries of users in a segment; without ``column`` of all users, in ALL_USERS."""
    if column is None:
        segment_of = np.full(len(snapshot.users), ALL_USERS)
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
            is_member = is_in[user]
            user = user[is_member]
            parts.append(
                _Entries(
                    segment_of[user],
                    lists.rows[is_member],
                    np.full(len(user), is_enjoyed),
                    np.asarray(scene[is_member]),
                )
            )
    columns = ("segment", "row", "enjoyed", "scene")
    return _Entries(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def _rated(snapshot: Snapshot, entries: _Entries, prior: Array, lift: float = 1.0) -> SeenBySegment:
    """Returns the pairs of segment and work, with rates smoothed towards ``near (works,)``."""
    n = max(len(snapshot.works), 1)
    pairs, pair_of_entry = np.unique(entries.segment * n + entries.row, return_inverse=True)
    positives = np.bincount(pair_of_entry, weights=entries.enjoyed, minlength=len(pairs))
    n_seen = np.bincount(pair_of_entry, minlength=len(pairs))
    segment, row = np.divmod(pairs, n)
    rate = smoothed_rate(positives / lift, n_seen, prior[row], PRIOR_SEEN)
    return SeenBySegment(segment, row, positives, rate)
