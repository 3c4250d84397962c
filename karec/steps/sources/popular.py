"""Recall of works that do well: with everybody, with users of one's segment, by live indicators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request, StepOutput
from karec.steps.shared.fixed_list import FixedList
from karec.steps.shared.postings import most_popular, popularity, user_row, works_at
from karec.steps.shared.segments import EVERYBODY, SeenBySegment, seen_by, seen_in_scenes


class Popular(Source):
    """The ``quota`` works that are enjoyed most often when they are shown (``postings.popularity``).

    ``segment``: an integer column of users (an age band, a gender); then a work's rate is that among the
    users of one's own segment (``segments``), and for a user of none that among all. ``by_scene``: the rate
    is that in the scene of the request, with ``segment`` among one's own there. A scene of which users' lists
    have no entry, and any scene of a snapshot whose lists know no scenes, has the works of all scenes, and
    the notes say so (``scene``).
    """

    is_verified = True  # tests/steps/sources/test_popular.py
    reason = "works that most enjoy"

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
            raise ValueError(f"segment = {segment!r} is no integer column of users; these are {integers}")
        self.snapshot = snapshot
        self.quota = quota
        self.segment = segment
        self.by_scene = by_scene
        ids = snapshot.works.ids
        self.best = snapshot.built.get(
            ("most popular", quota), lambda: FixedList.of(ids[most_popular(snapshot)[:quota]])
        )
        self.of_segment: Mapping[int, Array] = {}
        self.of_scene: Mapping[str, Mapping[int, Array]] = {}
        if segment is not None:
            key = ("most popular in", segment, quota)
            self.of_segment = snapshot.built.get(key, lambda: _top_in_each(snapshot, segment, quota))
        if by_scene:
            of_scenes = ("most popular in scenes", segment, quota)
            self.of_scene = snapshot.built.get(of_scenes, lambda: _top_in_scenes(snapshot, segment, quota))

    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]:
        if not self.by_scene:
            return self._best(self.of_segment, request)
        here = self.of_scene.get(request.scene)
        if here is not None:
            return self._best(here, request)
        told = f"nobody's list knows the scene {request.scene!r}: works popular in all scenes"
        return StepOutput(self._best(self.of_segment, request), {"scene": told})

    def _best(self, of_segment: Mapping[int, Array], request: Request) -> Candidates:
        segment = EVERYBODY
        if self.segment is not None and (user := user_row(self.snapshot, request.user_number)) >= 0:
            segment = int(self.snapshot.users[self.segment][user])
        rows = of_segment.get(segment, of_segment.get(EVERYBODY))
        return self.best.seen_by(request) if rows is None else works_at(self.snapshot, rows)


def _top_in_each(snapshot: Snapshot, column: str, quota: int) -> Mapping[int, Array]:
    """{segment: (quota,) int32 work rows}. O(works log works + segments · (works + quota · log) + entries ·
    log)."""
    return _top_of(seen_by(snapshot, column), most_popular(snapshot), popularity(snapshot), quota)


def _top_in_scenes(snapshot: Snapshot, column: str | None, quota: int) -> Mapping[str, Mapping[int, Array]]:
    """{scene: {segment, or EVERYBODY: (quota,) int32 work rows}}, of the scenes in which something was
    seen."""
    names, rate, order = snapshot.labels.get("scene", ()), popularity(snapshot), most_popular(snapshot)
    best = {}
    for scene, (all_of_it, by_segment) in seen_in_scenes(snapshot, column).items():
        deep = quota if by_segment is None else quota + len(by_segment.row)
        of_all = _moved(order, rate, all_of_it.row, all_of_it.rate, deep)
        best[names[scene]] = {EVERYBODY: of_all[:quota]}
        if by_segment is not None:
            there = rate.copy()
            there[all_of_it.row] = all_of_it.rate
            best[names[scene]] |= _top_of(by_segment, of_all, there, quota)
    return best


def _top_of(seen: SeenBySegment, order: Array, rate: Array, quota: int) -> dict[int, Array]:
    """{segment: its (quota,) best}; ``order``: rows by ``rate``, which is that of what a segment has not
    seen."""
    segments, first = np.unique(seen.segment, return_index=True)
    parts = zip(segments.tolist(), first, np.append(first, len(seen.segment))[1:], strict=True)
    return {
        of: _moved(order, rate, seen.row[begin:end], seen.rate[begin:end], quota) for of, begin, end in parts
    }


def _moved(order: Array, rate: Array, rows: Array, rates: Array, n: int) -> Array:
    """(n,) int32: the first n of ``order``, rows by ``rate``, once ``rows`` have the rates ``rates``. Ties by
    row."""
    changed = np.zeros(len(rate), bool)
    changed[rows] = True
    begin = order[: n + len(rows)]
    begin = begin[~changed[begin]]
    together = np.concatenate([rows, begin])
    best = np.lexsort((together, -np.concatenate([rates, rate[begin]])))[:n]
    return together[best].astype(np.int32)
