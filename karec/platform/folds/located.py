"""Events with the rows that they name: what every fold reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from karec.platform.event_log.events import EXPOSURE, FOLLOW, UNFOLLOW
from karec.platform.events import Exposures
from karec.platform.schema import CREATOR
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.types import Array


@dataclass(frozen=True, eq=False)
class LocatedEvents:
    """M events in order of time.

    ``user, work (M,) int64`` rows of users and works, −1 for the work of a follow; ``user_scene (M,) int64`` rows of the
    counters by user and scene, −1 for a scene without a name; ``time_ms (M,)``; ``labels`` {name: (M,) 0 or 1};
    ``work_id, creator_id (M,) int64``, None for the creators of works that have none; ``kind (M,)`` codes of
    ``karec.platform.event_log.events``: exposure, label, follow or unfollow; None: all are exposures.
    """

    user: Array
    work: Array
    user_scene: Array
    time_ms: Array
    labels: Mapping[str, Array]
    work_id: Array
    creator_id: Array | None
    kind: Array | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, exposures: Exposures, first: int = 0) -> LocatedEvents:
        """Raises ValueError for a user or work that ``snapshot`` does not hold, naming it and the exposure, counted
        from ``first``. O(M log rows).
        """
        user = _rows(snapshot.users, exposures.user_id, "user", first)
        work = _rows(snapshot.works, exposures.work_id, "work", first)
        return cls(
            user=user,
            work=work,
            user_scene=snapshot.user_scene_rows(user, exposures.scene),
            time_ms=exposures.time_ms,
            labels=exposures.labels,
            work_id=exposures.work_id,
            creator_id=np.asarray(snapshot.works[CREATOR])[work] if CREATOR in snapshot.works.columns else None,
        )

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def shown(self) -> Array:
        """(M,) bool: the exposures."""
        return np.ones(len(self), bool) if self.kind is None else self.kind == EXPOSURE

    def _are(self, kind: int) -> Array:
        """(M,) bool: the events of a kind other than exposures."""
        return np.zeros(len(self), bool) if self.kind is None else self.kind == kind

    @property
    def follow(self) -> Array:
        return self._are(FOLLOW)

    @property
    def unfollow(self) -> Array:
        return self._are(UNFOLLOW)


def _rows(table: Table, ids: Array, what: str, first: int) -> Array:
    rows = table.lookup(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        at = int(unknown[0])
        raise ValueError(f"exposure {first + at} names {what} {int(ids[at])}, which the snapshot does not hold")
    return rows
