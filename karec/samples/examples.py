"""Training rows as serving would have computed them at each row's time.

They contain events strictly before that time (``karec.aggregates``), so rows of one request do not contain
each other's outcome. The serving encoder computes the inputs in batches, so memory holds exposures, not
features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

ONE_USER_ROWS = 3  # with as many rows of a user side or more, one call for the user side is faster
COUNTS = ("user_counts", "item_counts", "scene_counts")


@dataclass(frozen=True, eq=False)
class Examples:
    """M exposures and their features.

    as_of (M,)                 Unix ms; a row's features contain events before it
    user_rows, item_rows (M,)  rows of the snapshot
    user_counts, item_counts   (M, ·) float32 counters of user and item, in the encoder's order
    scene_counts               (M, ·) float32 counters of the user in the row's scene
    items_base                 snapshot of the items: works, or another item type. ``snapshot`` has the works,
                               which the lists of users contain
    item_counters              counters of any item at any time
    relations                  {name: the user's list}; histories contain item rows, social edges contain ids
    labels (M, T) float32      in the order of the encoder's tasks
    """

    encoder: Encoder
    snapshot: Snapshot
    exposures: Impressions
    as_of: NDArray[Any]
    items_base: Snapshot
    item_counters: CountersOverTime
    user_rows: NDArray[Any]
    item_rows: NDArray[Any]
    user_counts: NDArray[Any]
    item_counts: NDArray[Any]
    scene_counts: NDArray[Any]
    relations: Mapping[str, Lists]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.user_rows)

    def take(self, rows: NDArray[Any]) -> Examples:
        """Returns the examples at ``rows`` (indices or a boolean mask)."""
        return replace(
            self,
            exposures=self.exposures.take(rows),
            **{
                name: getattr(self, name)[rows]
                for name in ("as_of", "user_rows", "item_rows", "labels", *COUNTS)
            },
            relations={name: lists.take(rows) for name, lists in self.relations.items()},
        )

    def between(self, start_ms: int, end_ms: int) -> Examples:
        time = self.exposures.time_ms
        return self.take((time >= start_ms) & (time < end_ms))

    def inputs(self, rows: NDArray[Any], *, with_position: bool = False) -> dict[str, NDArray[Any]]:
        """Returns all model inputs (see ``Encoder``) of the examples at ``rows``, a row each.

        ``with_position``: True for rows that a model learns from. Otherwise they are as served, without a
        position.
        """
        users, side, items = self.inputs_by_side(rows, with_position=with_position)
        return {**{name: values[side] for name, values in users.items()}, **items}

    def inputs_by_side(
        self, rows: NDArray[Any], *, with_position: bool = False
    ) -> tuple[dict[str, NDArray[Any]], NDArray[Any], dict[str, NDArray[Any]]]:
        """Returns the inputs of ``inputs``: of users for S user sides, the side of each row, of the items."""
        first, side = self.user_sides(rows)
        users, items = self.users(rows[first]), self.own_items(rows)
        position = self.exposures.position if with_position else None
        crosses = np.empty((len(rows), len(self.encoder.names["crosses"])), np.float32)
        for at, of in parts_by_side(side):
            crosses[at] = self.encoder.encode_crosses(
                {name: values[of] for name, values in users.items()},
                {name: values[at] for name, values in items.items()},
                None if position is None else position[rows[at]],
            )["crosses"]
        return users, side, {**items, "crosses": crosses}

    def pool(self, row: int, items: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns the ranker's inputs of ``items (N,)``, ranked in the request of example ``row``.

        The user's inputs have one row, the items' N.
        """
        user = self.users(np.array([row]))
        item_inputs = self.items(np.full(len(items), row), items)
        return {**user, **item_inputs, **self.encoder.encode_crosses(user, item_inputs)}

    def items(self, rows: NDArray[Any], items: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns the inputs of the item rows ``items (N,)`` as of the times of ``rows (N,)``."""
        counts = self.item_counters.at(items, self.as_of[rows])
        return self.encoder.encode_items(
            self.items_base, items, self.exposures.time_ms[rows], counts, as_of_ms=self.as_of[rows]
        )

    def own_items(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        time, counts = self.exposures.time_ms[rows], self.item_counts[rows]
        return self.encoder.encode_items(
            self.items_base, self.item_rows[rows], time, counts, as_of_ms=self.as_of[rows]
        )

    def user_sides(self, rows: NDArray[Any] | slice = slice(None)) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the first of ``rows (N,)`` of each user side (S,), and the user side of each row (N,).

        Rows of a user side have equal user inputs: they are of one user, one ``as_of``, one hour and one
        scene. Ages of a user's moments differ in every millisecond, so a user side is then of one time.
        O(N log N).
        """
        time = self.exposures.time_ms[rows]
        if not self.encoder.users.moments:
            time = time // HOUR_MS
        keys = np.stack([self.user_rows[rows], self.as_of[rows], time, self.exposures.scene[rows]])
        _, first, side = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        return first, side

    def users(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        width = self.encoder.list_length
        lists = {name: relation.take(rows) for name, relation in self.relations.items()}
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
            as_of_ms=self.as_of[rows],
        )


def parts_by_side(side: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yields parts of rows for one call each: indices of rows, and their user side or that of each row.

    ``side (N,)`` is the user side of each row. A side with ONE_USER_ROWS rows or more is a part of its own.
    """
    n_rows, order = np.bincount(side), np.argsort(side, kind="stable")
    few = np.flatnonzero(n_rows[side] < ONE_USER_ROWS)
    if len(few):
        yield few, side[few]
    groups = np.split(order, np.cumsum(n_rows))  # ends with an empty one
    for number in np.flatnonzero(n_rows >= ONE_USER_ROWS):
        yield groups[number], np.array([number])


def build_examples(
    encoder: Encoder,
    snapshot: Snapshot,
    exposures: Impressions,
    as_of_ms: NDArray[Any] | None = None,
    *,
    happened: Impressions | None = None,
    items: Snapshot | None = None,
    item_counters: CountersOverTime | None = None,
) -> Examples:
    """Returns all ``exposures``, which follow ``snapshot`` in order of time, as examples. O(M log M).

    A row's features equal those encoded from ``advance(snapshot, exposures, until_ms=as_of)``.

    Args
      as_of_ms   (M,) time before which a row knows events, default its own time. A service with a published
                 snapshot knows only events before its publication, see ``refresh_times``
      happened   exposures that rows know of, default ``exposures``. If given, ``exposures`` need no order:
                 requests and pages that no history contains
      items      snapshot of another item type, whose items ``exposures`` show in order of time. Users know of
                 ``happened``, items of ``exposures``
      item_counters  counters of items, if ``exposures`` are those of some users only. None: of ``exposures``

    Raises ValueError for rows before the snapshot or out of order, as_of_ms after the row's time, unknown
    users or items, exposures without a label that means enjoyed, and a label that is missing or neither 0 nor
    1.
    """
    tasks = encoder.labels_of("" if items is None else items.item_type)
    _check_labels(tasks, exposures)
    time = exposures.time_ms
    as_of = time if as_of_ms is None else np.asarray(as_of_ms)
    known_exposures = exposures if happened is None else happened
    _check_times(snapshot, known_exposures.time_ms, time, as_of)
    items_base = snapshot if items is None else items
    events = LocatedEvents.from_impressions(snapshot, known_exposures)
    rows = events if happened is None else LocatedEvents.from_impressions(items_base, exposures)
    item_events, counters = events if items is None else rows, encoder.item_coder(items_base).counters
    if item_counters is None:
        item_counters = BY_WORK.over_time(items_base, item_events, counters)
    user_counters = BY_USER.over_time(snapshot, events, encoder.users.counters)
    scene_counters = BY_USER_SCENE.over_time(snapshot, events, encoder.scene_counters.counters)
    return Examples(
        encoder=encoder,
        snapshot=snapshot,
        exposures=exposures,
        as_of=as_of,
        items_base=items_base,
        item_counters=item_counters,
        user_rows=rows.user,
        item_rows=rows.work,
        user_counts=user_counters.at(rows.user, as_of),
        item_counts=item_counters.at(rows.work, as_of),
        scene_counts=scene_counters.at(snapshot.user_scene_rows(rows.user, exposures.scene), as_of),
        relations=_relations(events, snapshot, rows.user, as_of),
        labels=np.stack([exposures.labels[task] for task in tasks], axis=1).astype(np.float32),
    )


def refresh_times(time_ms: NDArray[Any], every_ms: int, origin_ms: int) -> NDArray[Any]:
    """Returns (M,) the last time ``origin_ms + n·every_ms`` at or before each of ``time_ms``."""
    if every_ms <= 0:
        raise ValueError(f"every_ms is {every_ms}, expected above 0")
    return np.asarray(origin_ms + (time_ms - origin_ms) // every_ms * every_ms)


def feature_times(
    dataset: Dataset, refresh_hours: float, time_ms: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Returns (M,) Unix ms: the time before which the features of rows at ``time_ms`` (M,) know events.

    Features refresh every ``refresh_hours``, counted from the start of the test days; 0: at each row's own
    time. ``time_ms``: default those of the exposures.
    """
    time_ms = dataset.exposures.time_ms if time_ms is None else time_ms
    if refresh_hours == 0:
        return time_ms
    times = refresh_times(time_ms, round(refresh_hours * HOUR_MS), dataset.valid_until_ms)
    return np.asarray(np.maximum(times, dataset.snapshot.time_ms))


def _check_times(
    snapshot: Snapshot, known_times: NDArray[Any], time: NDArray[Any], as_of: NDArray[Any]
) -> None:
    unordered = np.flatnonzero(np.diff(known_times, prepend=snapshot.time_ms) < 0)
    if len(unordered):
        raise ValueError(
            f"exposures: row {int(unordered[0])} is before the snapshot or its predecessor, expected order "
            f"of time"
        )
    too_early = np.flatnonzero(as_of < snapshot.time_ms)
    if len(too_early):
        raise ValueError(f"as_of_ms[{int(too_early[0])}] is before the snapshot, expected at or after it")
    if as_of.shape != time.shape:
        raise ValueError(f"as_of_ms has shape {as_of.shape}, expected {time.shape}")
    too_late = np.flatnonzero(as_of > time)
    if len(too_late):
        raise ValueError(
            f"as_of_ms[{int(too_late[0])}] is after the row's own time: its inputs would contain its future"
        )


def _check_labels(tasks: Sequence[str], exposures: Impressions) -> None:
    missing = [task for task in tasks if task not in exposures.labels]
    if missing:
        raise ValueError(f"tasks {missing} have no label; the exposures have {sorted(exposures.labels)}")
    for name, label in exposures.labels.items():
        bad = np.flatnonzero((label != 0) & (label != 1))
        if len(bad):
            raise ValueError(f"label {name!r}, exposure {int(bad[0])}: {label[bad[0]]}, expected 0 or 1")


def _relations(
    events: LocatedEvents, snapshot: Snapshot, users: NDArray[Any], as_of: NDArray[Any]
) -> dict[str, Lists]:
    """Returns the users' lists as of each row's time: histories as item rows, social edges as ids."""
    lists_by_name = {
        fold.name: fold.over_time(snapshot, events).at(users, as_of) for fold in (HISTORY, SKIPPED, FOLLOWS)
    }
    for fold in (HISTORY, SKIPPED):
        lists = lists_by_name[fold.name]
        lists_by_name[fold.name] = replace(lists, values=snapshot.works.lookup(lists.values))
    return {**lists_by_name, "friends": Lists.from_relation(snapshot.relations.get("friends"), users)}
