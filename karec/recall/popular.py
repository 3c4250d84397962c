"""Recall that is the same for every user, also for one never seen: popular works and new works."""

from __future__ import annotations

import numpy as np

from karec.platform.schema import PUBLISHED
from karec.platform.snapshot import Snapshot
from karec.recall.postings import popularity
from karec.stage import Source
from karec.types import Array, Candidates, Request


class Popular(Source):
    """The ``quota`` works that are enjoyed most often when they are shown (``postings.popularity``)."""

    def __init__(self, snapshot: Snapshot, quota: int) -> None:
        self.quota = quota
        self.best = snapshot.built.get(("most popular", quota), lambda: _top(snapshot, popularity(snapshot), quota))

    def recall(self, request: Request) -> Candidates:
        return self.best


class Fresh(Source):
    """The ``quota`` works that were published last."""

    def __init__(self, snapshot: Snapshot, quota: int) -> None:
        if PUBLISHED not in snapshot.works.columns:
            raise ValueError("fresh recall needs the moment when works were published; these works have none")
        self.quota = quota
        uploaded = np.asarray(snapshot.works[PUBLISHED], np.float64)
        self.newest = snapshot.built.get(("newest", quota), lambda: _top(snapshot, uploaded, quota))

    def recall(self, request: Request) -> Candidates:
        return self.newest


def _top(snapshot: Snapshot, priority: Array, quota: int) -> Candidates:
    rows = np.argsort(-priority, kind="stable")[:quota]
    return Candidates.of(np.asarray(snapshot.works.ids)[rows])
