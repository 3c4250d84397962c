"""Advances a snapshot by later impressions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.histories import lists_of
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot


def advance(snapshot: Snapshot, exposures: Impressions, until_ms: int) -> Snapshot:
    """Returns the snapshot at ``until_ms``, after the impressions with snapshot.time_ms ≤ time < until_ms.

    Earlier impressions are already in the snapshot. Hence ``advance(advance(s, e, t1), e, t2)`` equals
    ``advance(s, e, t2)``. The lists of ``lists_of(snapshot.meaning)`` change, and the counters of users, of
    items and, if the snapshot has scenes, of users by scene. Other relations and columns stay.

    Raises:
        ValueError: ``until_ms`` before the snapshot, impressions that are not ordered by time or have no
            label of the meaning enjoyed, or an unknown user or item.

    Cost: O((M + R) log(M + R)) for M impressions and R entries of relations.
    """
    if until_ms < snapshot.time_ms:
        raise ValueError(f"until_ms {until_ms} is before the snapshot's time_ms {snapshot.time_ms}")
    early_rows = np.flatnonzero(np.diff(exposures.time_ms) < 0)
    if len(early_rows):
        raise ValueError(
            f"exposures must be ordered by time; row {int(early_rows[0]) + 1} is earlier than the one before"
        )
    start, stop = np.searchsorted(exposures.time_ms, [snapshot.time_ms, until_ms])
    events = LocatedEvents.from_impressions(snapshot, exposures.take(np.arange(start, stop)), int(start))
    lists = {aggregate.name: aggregate.after(snapshot, events) for aggregate in lists_of(snapshot.meaning)}
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
