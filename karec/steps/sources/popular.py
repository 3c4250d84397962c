"""Source of popular items: of all users, of one segment, of one scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request, StepOutput
from karec.steps.shared.fixed_list import FixedList
from karec.steps.shared.postings import most_popular, popularity, user_row, works_at
from karec.steps.shared.segments import ALL_USERS, SeenBySegment, seen_by_segment, seen_in_scenes


class Popular(Source):
    """The ``quota`` items with the highest rate of enjoyed impressions.

    If the users' lists have no entry of the request's scene, ``by_scene`` uses the rate of all scenes, and
    the notes say so (``scene``).

    Settings:
        segment: integer column of users, for example an age band. The rate is then the one in the user's
            segment. Absent, or a user without a segment: among all users.
        by_scene: true: the rate in the request's scene.
    """

    is_verified = True  # tests/steps/sources/test_popular.py
    reason = "enjoyed most often"

    def __init__(
        self, snapshot: Snapshot, quota: int, segment: str | None = None, by_scene: bool = False
    ) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        users = snapshot.users.columns
        if segment is not None and (
            segment not in users or np.asarray(users[segment]).dtype.kind not in "iu"
        ):
            integers = [name for name, column in users.items() if np.asarray(column).dtype.kind in "iu"]
            raise ValueError(f"segment = {segment!r} is not an integer column of users; these are {integers}")
        self.snapshot = snapshot
        self.quota = quota
        self.segment = segment
        self.by_scene = by_scene
        ids = snapshot.works.ids
        self.best = snapshot.built.get(
            ("most popular", quota), lambda: FixedList.from_ids(ids[most_popular(snapshot)[:quota]])
        )
        self.best_by_segment: Mapping[int, Array] = {}
        self.best_by_scene: Mapping[str, Mapping[int, Array]] = {}
        if segment is not None:
            self.best_by_segment = snapshot.built.get(
                ("most popular in", segment, quota), lambda: _top_in_each(snapshot, segment, quota)
            )
        if by_scene:
            self.best_by_scene = snapshot.built.get(
                ("most popular in scenes", segment, quota), lambda: _top_in_scenes(snapshot, segment, quota)
            )

    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]:
        if not self.by_scene:
            return self._best(self.best_by_segment, request)
        by_segment = self.best_by_scene.get(request.scene)
        if by_segment is not None:
            return self._best(by_segment, request)
        note = f"the users' lists have no entry of the scene {request.scene!r}: items popular in all scenes"
        return StepOutput(self._best(self.best_by_segment, request), {"scene": note})

    def _best(self, by_segment: Mapping[int, Array], request: Request) -> Candidates:
        segment = ALL_USERS
        if self.segment is not None and (user := user_row(self.snapshot, request.user_number)) >= 0:
            segment = int(self.snapshot.users[self.segment][user])
        rows = by_segment.get(segment, by_segment.get(ALL_USERS))
        return self.best.candidates(request) if rows is None else works_at(self.snapshot, rows)


def _top_in_each(snapshot: Snapshot, column: str, quota: int) -> Mapping[int, Array]:
    """Returns {segment: (quota,) int32 work rows}.

    Cost: O(works · log works + segments · (works + quota · log quota) + E log E) for E entries of the lists.
    """
    return _top_of(seen_by_segment(snapshot, column), most_popular(snapshot), popularity(snapshot), quota)


def _top_in_scenes(snapshot: Snapshot, column: str | None, quota: int) -> Mapping[str, Mapping[int, Array]]:
    """Returns {scene: {segment or ALL_USERS: (quota,) int32 work rows}} of the scenes with entries."""
    names, rate, order = snapshot.labels.get("scene", ()), popularity(snapshot), most_popular(snapshot)
    best = {}
    for scene, (of_all_users, by_segment) in seen_in_scenes(snapshot, column).items():
        n_needed = quota if by_segment is None else quota + len(by_segment.row)
        of_all = _rerank(order, rate, of_all_users.row, of_all_users.rate, n_needed)
        best[names[scene]] = {ALL_USERS: of_all[:quota]}
        if by_segment is not None:
            scene_rate = rate.copy()
            scene_rate[of_all_users.row] = of_all_users.rate
            best[names[scene]] |= _top_of(by_segment, of_all, scene_rate, quota)
    return best


def _top_of(seen_works: SeenBySegment, order: Array, rate: Array, quota: int) -> dict[int, Array]:
    """Returns {segment: its (quota,) best rows}.

    ``order``: rows by ``rate``, the rate of works that a segment has not seen.
    """
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
