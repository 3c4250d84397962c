"""Training rows as serving would have seen them: histories, social edges and counters as of each row's
moment.

They hold what was strictly before it (``karec.aggregates``): rows of one moment (one feed) do not know
each other's outcome. The encoder that serves makes the inputs, batch by batch, so that memory holds exposures
and not features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK, CountersOverTime
from karec.aggregates.histories import FOLLOWS, HISTORY, SKIPPED
from karec.aggregates.id_lists import Lists
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.features.crosses import MAX_EDGES, SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.times import HOUR_MS

COUNTED = ("user_counts", "work_counts", "scene_counts")


@dataclass(frozen=True, eq=False)
class Examples:
    """M exposures with what was known before each.

    as_of (M,)                 the moment, Unix ms, before which a row knows what happened
    user_rows, work_rows (M,)  rows of the snapshot
    user_counts, work_counts   (M, ·) float32 counters of the user and of the work, in the order of the
                               encoder's
    scene_counts               (M, ·) float32 counters of the user in the row's scene
    works_past                 the counters of any work at any moment
    relations                  {name: the user's list}; histories hold work rows, social edges ids
    labels (M, T) float32      in the order of the encoder's tasks
    """

    encoder: Encoder
    snapshot: Snapshot
    exposures: Impressions
    as_of: NDArray[Any]
    works_past: CountersOverTime
    user_rows: NDArray[Any]
    work_rows: NDArray[Any]
    user_counts: NDArray[Any]
    work_counts: NDArray[Any]
    scene_counts: NDArray[Any]
    relations: Mapping[str, Lists]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.user_rows)

    def take(self, rows: NDArray[Any]) -> Examples:
        """The examples at ``rows`` (indices or a boolean mask)."""
        return replace(
            self,
            exposures=self.exposures.take(rows),
            **{
                name: getattr(self, name)[rows]
                for name in ("as_of", "user_rows", "work_rows", "labels", *COUNTED)
            },
            relations={name: lists.take(rows) for name, lists in self.relations.items()},
        )

    def between(self, start_ms: int, end_ms: int) -> Examples:
        """Those with start_ms ≤ time < end_ms."""
        time = self.exposures.time_ms
        return self.take((time >= start_ms) & (time < end_ms))

    def inputs(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every model input (see ``Encoder``) of the examples at ``rows``, user and item side with a row
        each."""
        user, items = self.users(rows), self.own_items(rows)
        return {**user, **items, **self.encoder.encode_crosses(user, items)}

    def pool(self, row: int, works: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The ranker's inputs of ``works (N,)`` (rows of works), as if they had been ranked with example
        ``row``: one row for the user, N for the items.
        """
        user = self.users(np.array([row]))
        items = self.items(np.full(len(works), row), works)
        return {**user, **items, **self.encoder.encode_crosses(user, items)}

    def items(self, rows: NDArray[Any], works: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The items' side of ``works (N,)`` (rows of works), each as of the moment of the example ``rows
        (N,)``."""
        counts = self.works_past.at(works, self.as_of[rows])
        return self.encoder.encode_items(self.snapshot, works, self.exposures.time_ms[rows], counts)

    def own_items(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The items' side of the examples at ``rows``: of the works that were shown."""
        time, counts = self.exposures.time_ms[rows], self.work_counts[rows]
        return self.encoder.encode_items(self.snapshot, self.work_rows[rows], time, counts)

    def requests(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(R,) the first example of each request, which is a user at a moment in a scene, and (M,) the
        request of each example: the users' side of a request's examples is the same.
        """
        asked = np.stack([self.user_rows, self.as_of, self.exposures.time_ms, self.exposures.scene])
        _, first, of = np.unique(asked, axis=1, return_index=True, return_inverse=True)
        return first, of

    def users(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The users' side of the examples at ``rows``."""
        width = self.encoder.history_length
        lists = {name: of_all.take(rows) for name, of_all in self.relations.items()}
        return self.encoder.encode_users(
            self.snapshot,
            self.user_rows[rows],
            self.exposures.time_ms[rows],
            self.exposures.scene[rows],
            history=lists["history"].latest(width),
            skipped=lists["skipped"].latest(width),
            edges={name: lists[name].latest(MAX_EDGES) for name in SOCIAL_EDGES},
            counts=self.user_counts[rows],
            scene_counts=self.scene_counts[rows],
        )


def build_examples(
    encoder: Encoder,
    snapshot: Snapshot,
    exposures: Impressions,
    as_of_ms: NDArray[Any] | None = None,
    *,
    happened: Impressions | None = None,
) -> Examples:
    """All ``exposures``, which follow ``snapshot`` in order of time, as examples. O(M log M).

    ``happened`` are the exposures that rows know of, by default ``exposures`` themselves. Where they are
    given, ``exposures`` need no order: requests and feeds that no history holds.

    ``as_of_ms (M,)``: the moment before which a row knows what happened, by default its own. A service that
    works on a published snapshot knows only what was before its publication, whose moments ``refreshed``
    gives. For every row the result equals encoding ``advance(snapshot, exposures, until_ms=as_of)``.

    Raises ValueError for rows before the snapshot or out of order, for as_of_ms after the row's own moment,
    for unknown users or works, for exposures without a label that says enjoyed, and for a label that is
    missing or neither 0 nor 1.
    """
    _check_labels(encoder, exposures)
    time = exposures.time_ms
    as_of = time if as_of_ms is None else np.asarray(as_of_ms)
    past = exposures if happened is None else happened
    _check_moments(snapshot, past.time_ms, time, as_of)
    events = LocatedEvents.of(snapshot, past)
    rows = events if happened is None else LocatedEvents.of(snapshot, exposures)
    works_past = BY_WORK.over_time(snapshot, events, encoder.works.counters)
    users_past = BY_USER.over_time(snapshot, events, encoder.users.counters)
    scenes_past = BY_USER_SCENE.over_time(snapshot, events, encoder.scene_counters.counters)
    return Examples(
        encoder=encoder,
        snapshot=snapshot,
        exposures=exposures,
        as_of=as_of,
        works_past=works_past,
        user_rows=rows.user,
        work_rows=rows.work,
        user_counts=users_past.at(rows.user, as_of),
        work_counts=works_past.at(rows.work, as_of),
        scene_counts=scenes_past.at(rows.user_scene, as_of),
        relations=_relations(events, snapshot, rows.user, as_of),
        labels=np.stack([exposures.labels[task] for task in encoder.tasks], axis=1).astype(np.float32),
    )


def refreshed(time_ms: NDArray[Any], every_ms: int, origin_ms: int) -> NDArray[Any]:
    """(M,) the last moment ``origin_ms + n·every_ms`` at or before each of ``time_ms``."""
    if every_ms <= 0:
        raise ValueError(f"every_ms must be positive, got {every_ms}")
    return np.asarray(origin_ms + (time_ms - origin_ms) // every_ms * every_ms)


def as_known(dataset: Dataset, refresh_hours: float) -> NDArray[Any]:
    """(M,) the moment as of which the features of each exposure are known: every ``refresh_hours``, counted
    from the start of the test days; with 0 the exposure's own moment.
    """
    time_ms = dataset.exposures.time_ms
    if refresh_hours == 0:
        return time_ms
    moments = refreshed(time_ms, round(refresh_hours * HOUR_MS), dataset.valid_until_ms)
    return np.asarray(np.maximum(moments, dataset.snapshot.time_ms))


def _check_moments(snapshot: Snapshot, past: NDArray[Any], time: NDArray[Any], as_of: NDArray[Any]) -> None:
    wrong = np.flatnonzero(np.diff(past, prepend=snapshot.time_ms) < 0)
    if len(wrong):
        raise ValueError(
            f"exposures must follow the snapshot in order of time; row {int(wrong[0])} is too early"
        )
    early = np.flatnonzero(as_of < snapshot.time_ms)
    if len(early):
        raise ValueError(f"as_of_ms[{int(early[0])}] is before the snapshot, which knows what came later")
    if as_of.shape != time.shape:
        raise ValueError(f"as_of_ms has shape {as_of.shape}, expected {time.shape}")
    ahead = np.flatnonzero(as_of > time)
    if len(ahead):
        raise ValueError(
            f"as_of_ms[{int(ahead[0])}] is after the row's own moment: its inputs would hold its future"
        )


def _check_labels(encoder: Encoder, exposures: Impressions) -> None:
    missing = [task for task in encoder.tasks if task not in exposures.labels]
    if missing:
        raise ValueError(f"tasks {missing} have no label; the exposures have {sorted(exposures.labels)}")
    for name, label in exposures.labels.items():
        bad = np.flatnonzero((label != 0) & (label != 1))
        if len(bad):
            raise ValueError(f"label {name!r}, exposure {int(bad[0])}: {label[bad[0]]}, expected 0 or 1")


def _relations(
    events: LocatedEvents, snapshot: Snapshot, users: NDArray[Any], as_of: NDArray[Any]
) -> dict[str, Lists]:
    """The users' lists that the encoder reads, as of each row's moment: histories as work rows, social edges
    as ids."""
    found = {
        fold.name: fold.over_time(snapshot, events).at(users, as_of) for fold in (HISTORY, SKIPPED, FOLLOWS)
    }
    for fold in (HISTORY, SKIPPED):
        lists = found[fold.name]
        found[fold.name] = replace(lists, values=snapshot.works.lookup(lists.values))
    return {**found, "friends": Lists.unchanged(snapshot.relations.get("friends"), users)}
