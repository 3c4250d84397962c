"""Events with the rows that they name: what every fold reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import EXPOSURE, FOLLOW, LABEL, NONE, UNFOLLOW, Events, Head
from karec.catalog.impressions import Impressions
from karec.catalog.once import computed_once
from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table

FOLDED = (EXPOSURE, LABEL, FOLLOW, UNFOLLOW)  # the kinds that a fold reads


@dataclass(frozen=True, eq=False)
class LocatedEvents:
    """M events in order of time.

    ``user, work (M,) int64`` rows of users and works, −1 for the work of a follow; ``user_scene (M,) int64``
    rows of the counters by user and scene, −1 for a scene without a name; ``time_ms (M,)``; ``labels`` {name:
    (M,) 0 or 1}; ``work_id, creator_id (M,) int64``, None for the creators of works that have none; ``kind
    (M,)`` codes of ``karec.aggregates.events``: exposure, label, follow or unfollow; None: all are
    exposures.
    """

    user: NDArray[Any]
    work: NDArray[Any]
    user_scene: NDArray[Any]
    time_ms: NDArray[Any]
    labels: Mapping[str, NDArray[Any]]
    work_id: NDArray[Any]
    creator_id: NDArray[Any] | None
    kind: NDArray[Any] | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, exposures: Impressions, first: int = 0) -> LocatedEvents:
        """Raises ValueError for a user or work that ``snapshot`` does not hold, naming it and the exposure,
        counted from ``first``. O(M log rows).
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
            creator_id=np.asarray(snapshot.works[CREATOR])[work]
            if CREATOR in snapshot.works.columns
            else None,
        )

    @classmethod
    def of_log(cls, snapshot: Snapshot, head: Head, events: Events) -> LocatedEvents:
        """Those of ``events``, in order of time, that a fold reads and whose user, and work where they have
        one, the snapshot holds.

        An event's creator is its own word, else the snapshot's. O(M log rows).
        """
        user, work = snapshot.users.lookup(events.user_id), snapshot.works.lookup(events.item_id)
        kept = np.isin(events.kind, FOLDED) & (user >= 0) & ((work >= 0) | (events.item_id < 0))
        return cls.of_rows(snapshot, head, events.take(kept), user[kept], work[kept], work[kept])

    @classmethod
    def of_rows(
        cls,
        snapshot: Snapshot,
        head: Head,
        events: Events,
        user: NDArray[Any],
        work: NDArray[Any],
        known: NDArray[Any],
    ) -> LocatedEvents:
        """Events of the log over rows of any tables, ``user, work (M,)``; ``known (M,)`` are the works' rows
        in the snapshot.
        """
        scenes = head.codes_of(snapshot.labels.get("scene", ()))
        scene = scenes[
            np.where((events.scene >= 0) & (events.scene < len(head.scenes)), events.scene, len(head.scenes))
        ]
        creators = None
        if CREATOR in snapshot.works.columns:
            of_works = np.append(np.asarray(snapshot.works[CREATOR], np.int64), NONE)[known]
            creators = np.where(events.creator_id >= 0, events.creator_id, of_works)
        elif (events.creator_id >= 0).any():
            creators = events.creator_id
        bits = {
            label: (events.labels >> np.uint64(bit)) & np.uint64(1) for bit, label in enumerate(head.labels)
        }
        return cls(
            user=user,
            work=work,
            user_scene=np.where(scene >= 0, user * snapshot.n_scenes + scene, -1),
            time_ms=events.time_ms,
            labels={label: bit.astype(np.uint8) for label, bit in bits.items()},
            work_id=events.item_id,
            creator_id=creators,
            kind=events.kind,
        )

    def __len__(self) -> int:
        return len(self.user)

    def take(self, selector: NDArray[Any] | slice) -> LocatedEvents:
        """The events at ``selector`` (indices, a boolean mask, or a slice)."""
        return LocatedEvents(
            user=self.user[selector],
            work=self.work[selector],
            user_scene=self.user_scene[selector],
            time_ms=self.time_ms[selector],
            labels={name: label[selector] for name, label in self.labels.items()},
            work_id=self.work_id[selector],
            creator_id=None if self.creator_id is None else self.creator_id[selector],
            kind=None if self.kind is None else self.kind[selector],
        )

    @computed_once
    def shown(self) -> NDArray[Any]:
        """(M,) bool: the exposures."""
        return np.ones(len(self), bool) if self.kind is None else self.kind == EXPOSURE

    def _are(self, kind: int) -> NDArray[Any]:
        """(M,) bool: the events of a kind other than exposures."""
        return np.zeros(len(self), bool) if self.kind is None else self.kind == kind

    @property
    def follow(self) -> NDArray[Any]:
        return self._are(FOLLOW)

    @property
    def unfollow(self) -> NDArray[Any]:
        return self._are(UNFOLLOW)


def _rows(table: Table, ids: NDArray[Any], what: str, first: int) -> NDArray[Any]:
    rows = table.lookup(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        at = int(unknown[0])
        raise ValueError(
            f"exposure {first + at} names {what} {int(ids[at])}, which the snapshot does not hold"
        )
    return rows
