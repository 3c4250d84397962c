"""Recall without a profile: what pleases most people, and what is new. It also serves users never seen."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from karec.recall.postings import popularity
from karec.snapshot import Snapshot
from karec.stage import Source
from karec.types import Array, Candidates, Request


class Popular(Source):
    """The ``quota`` works with the highest smoothed rate of satisfied plays, the same for everybody."""

    def __init__(self, snapshot: Snapshot, quota: int) -> None:
        self.snapshot = snapshot
        self.quota = quota

    @cached_property
    def best(self) -> Candidates:
        return _top(self.snapshot, popularity(self.snapshot), self.quota)

    def recall(self, request: Request) -> Candidates:
        return self.best


class Fresh(Source):
    """The ``quota`` works uploaded last before the snapshot's moment, the same for everybody."""

    def __init__(self, snapshot: Snapshot, quota: int) -> None:
        self.snapshot = snapshot
        self.quota = quota

    @cached_property
    def newest(self) -> Candidates:
        upload = np.asarray(self.snapshot.works["upload_ms"], np.float64)
        return _top(self.snapshot, upload, self.quota)

    def recall(self, request: Request) -> Candidates:
        return self.newest


def _top(snapshot: Snapshot, priority: Array, quota: int) -> Candidates:
    rows = np.argsort(-priority, kind="stable")[:quota]
    return Candidates.of(np.asarray(snapshot.works.ids)[rows])
