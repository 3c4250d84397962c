"""Exposures with the rows of a snapshot that they name: what every fold reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from karec.platform.events import Exposures
from karec.platform.folds.moments import MomentKeys
from karec.platform.schema import CREATOR
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.types import Array


@dataclass(frozen=True, eq=False)
class LocatedExposures:
    """M exposures in order of time.

    ``user, work (M,) int64`` rows of the snapshot's tables; ``user_scene (M,) int64`` rows of its counters by user and
    scene, −1 for a scene that the snapshot does not name; ``work_id, creator_id (M,) int64``; None
    stands for the creators of works that have none.
    """

    exposures: Exposures
    user: Array
    work: Array
    user_scene: Array
    work_id: Array
    creator_id: Array | None

    @classmethod
    def of(cls, snapshot: Snapshot, exposures: Exposures, first: int = 0) -> LocatedExposures:
        """Raises ValueError for a user or work that ``snapshot`` does not hold, naming it and the exposure, counted
        from ``first``. O(M log rows).
        """
        user = _rows(snapshot.users, exposures.user_id, "user", first)
        work = _rows(snapshot.works, exposures.work_id, "work", first)
        return cls(
            exposures=exposures,
            user=user,
            work=work,
            user_scene=snapshot.user_scene_rows(user, exposures.scene),
            work_id=exposures.work_id,
            creator_id=np.asarray(snapshot.works[CREATOR])[work] if CREATOR in snapshot.works.columns else None,
        )

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def moments(self) -> MomentKeys:
        return MomentKeys.of(self.exposures.time_ms)


def _rows(table: Table, ids: Array, what: str, first: int) -> Array:
    rows = table.lookup(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        at = int(unknown[0])
        raise ValueError(f"exposure {first + at} names {what} {int(ids[at])}, which the snapshot does not hold")
    return rows
