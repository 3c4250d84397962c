"""Folds read at one moment: the snapshot after more exposures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.histories import LIST_FOLDS
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot


def advance(snapshot: Snapshot, exposures: Impressions, until_ms: int) -> Snapshot:
    """``snapshot`` as of ``until_ms``, after those of ``exposures`` (in order of time) that happened before
    it.

    An exposure counts when snapshot.time_ms ≤ time < until_ms: earlier ones are in the snapshot already.
    Hence ``advance(advance(s, e, t1), e, t2)`` equals ``advance(s, e, t2)``. What grows is defined by
    LIST_FOLDS and by the counters of users, of works and, where the snapshot names scenes, of users in each
    scene; other relations and columns stay. O((M + R) log(M + R)) for M exposures that count and R entries of
    relations.

    Raises ValueError when ``until_ms`` is before the snapshot, exposures are not in order of time, none of
    their labels says enjoyed, or one names a user or work that the snapshot does not hold.
    """
    if until_ms < snapshot.time_ms:
        raise ValueError(f"until_ms {until_ms} is before the snapshot's time_ms {snapshot.time_ms}")
    early = np.flatnonzero(np.diff(exposures.time_ms) < 0)
    if len(early):
        raise ValueError(
            f"exposures must be in order of time; row {int(early[0]) + 1} is earlier than the one before"
        )
    start, stop = np.searchsorted(exposures.time_ms, [snapshot.time_ms, until_ms])
    events = LocatedEvents.of(snapshot, exposures.take(np.arange(start, stop)), int(start))
    lists = {fold.name: fold.after(snapshot, events) for fold in LIST_FOLDS}
    by_scene: dict[str, NDArray[Any]] | None = (
        BY_USER_SCENE.after(snapshot, events) if snapshot.n_scenes else None
    )
    return replace(
        snapshot,
        time_ms=int(until_ms),
        works=replace(snapshot.works, columns=BY_WORK.after(snapshot, events)),
        users=replace(snapshot.users, columns=BY_USER.after(snapshot, events)),
        relations={**snapshot.relations, **lists},
        user_scene_counters=by_scene,
    )
