"""Events with the rows of their users and items, the input of all aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import FOLLOW, IMPRESSION, LABEL, MUTE, NONE, UNFOLLOW, UNMUTE, Events, Head
from karec.catalog.impressions import Impressions
from karec.catalog.once import computed_once
from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table

AGGREGATED_KINDS = (IMPRESSION, LABEL, FOLLOW, UNFOLLOW, MUTE, UNMUTE)  # the kinds that aggregates read


@dataclass(frozen=True, eq=False)
class LocatedEvents:
    """M events, ordered by time.

    user, work   (M,) int64 rows of users and items; a follow has the item −1
    user_scene   (M,) int64 rows of the counters by user and scene, −1 for an unknown scene
    time_ms      (M,) int64
    labels       {name: (M,) 0 or 1}
    work_id      (M,) int64
    creator_id   (M,) int64. None: items have no creators
    kind         (M,) codes of ``karec.aggregates.events``: exposure, label, follow or unfollow. None: all are
                 exposures
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
    def from_impressions(cls, snapshot: Snapshot, exposures: Impressions, first: int = 0) -> LocatedEvents:
        """Looks up the rows of impressions. O(M log rows).

        Raises ValueError for an unknown user or item, with the number of the impression, counted from
        ``first``.
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
    def from_rows(
        cls,
        snapshot: Snapshot,
        head: Head,
        events: Events,
        user: NDArray[Any],
        work: NDArray[Any],
        known: NDArray[Any],
    ) -> LocatedEvents:
        """Returns events of a log with the rows of any tables.

        Args:
            user, work: (M,) rows.
            known: (M,) rows of the items in the snapshot.
        """
        scenes = head.map_scenes(snapshot.labels.get("scene", ()))
        scene = scenes[
            np.where((events.scene >= 0) & (events.scene < len(head.scenes)), events.scene, len(head.scenes))
        ]
        creators = None
        if CREATOR in snapshot.works.columns:
            item_creators = np.append(np.asarray(snapshot.works[CREATOR], np.int64), NONE)[known]
            creators = np.where(events.creator_id >= 0, events.creator_id, item_creators)
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
        """Returns the events of ``selector``: indices, a boolean mask, or a slice."""
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
        """(M,) True for impressions."""
        return np.ones(len(self), bool) if self.kind is None else self.kind == IMPRESSION

    def has_kind(self, kind: int) -> NDArray[Any]:
        """Returns (M,) True for events of a kind other than exposures."""
        return np.zeros(len(self), bool) if self.kind is None else self.kind == kind


def _rows(table: Table, ids: NDArray[Any], field: str, first: int) -> NDArray[Any]:
    rows = table.lookup(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        at = int(unknown[0])
        raise ValueError(
            f"exposure {first + at} names {field} {int(ids[at])}, which the snapshot does not hold"
        )
    return rows
