"""Extends a dataset by the events of an online store. The newest day becomes the test day.

Rows       Users of exposures and uploads that the data lack are added (``karec.samples.added_rows``).
Exposures  Those that the data lack and whose user and item are known. A later label or play belongs to the
           user's last exposure of the item before it. Labels and plays without such an exposure are left out
           and counted. Labels and plays of the newest day whose exposure is earlier are left out too: no row
           of that day may contain them. The online store counts them after a bundle of the start of the day
           is published.
Item types Impressions and labels of other item types become those of ``Dataset.item_types``.
Days       The newest day (24 hours until the last exposure) is the test day. The last day with exposures
           before it is the validation day, everything before is training.
Cost       O(M log M) for M exposures; memory: the store's events since the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import IMPRESSION, LABEL, PLAY, WORK, Events, Head
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable
from karec.catalog.schema import LATEST_MS
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError, LogSchemaError
from karec.logs.parts import LogFolder
from karec.online.read_log import EventSource, read_log
from karec.samples.added_rows import with_added_rows
from karec.samples.arms import ArmRows, read_request_arms
from karec.samples.outcomes import add_feedback, find_exposures
from karec.times import DAY_MS


def newest_append_ms(source: EventSource) -> int:
    """Returns the time of the last append to the online store.

    Raises LogSchemaError if there is no store, DataError if it has no events.
    """
    _, events = read_log(source)
    if not len(events):
        raise DataError(f"{source.url}: the online store has no events")
    return int(events.logged_ms.max())


def with_events(
    dataset: Dataset,
    source: EventSource,
    logged_until_ms: int = LATEST_MS,
    ids: Path | None = None,
    *,
    tables_of: Callable[[Snapshot], Mapping[str, ItemTable]] | None = None,
    arm_rows: ArmRows | None = None,
    log: LogFolder | None = None,
) -> Dataset:
    """Returns ``dataset`` plus the users, uploads and exposures of ``source``, split again, with notes.

    ``ids``: folder with the maps of the data's ids, which get the ids of uploads; None: ids are numbers.
    ``tables_of``: returns tables of item types that the dataset lacks; those with impressions are added.
    ``arm_rows``: uses only impressions of works of these arms, by the rank log ``log``. Impressions whose
    request is not in it are in no arm.
    Events appended after ``logged_until_ms`` are not used. Raises LogSchemaError for a store without the
    data's labels. Raises DataError if no exposure is usable, if there are too few days before the newest, or
    if no task has both values on the newest day.
    """
    url = source.url
    head, all_events = _read_events(dataset, source, logged_until_ms)
    events = all_events.take(all_events.item_type == WORK)
    snapshot, row_notes = with_added_rows(dataset.snapshot, events, ids)
    dataset = replace(dataset, snapshot=snapshot)
    shown = events.take(events.kind == IMPRESSION)
    feedback = events.take((events.kind == LABEL) | (events.kind == PLAY))
    # among all exposures: feedback on one that is left out must not move to another one
    exposure_index = find_exposures(shown, feedback)
    is_other_arm = np.zeros(len(shown), bool)
    if arm_rows is not None:
        assert log is not None
        request_arms = read_request_arms(log)
        arm_rows.check_log(np.array([*request_arms.values()], object))
        arms = np.array([request_arms.get(request, "") for request in shown.request_id.tolist()], object)
        is_other_arm = ~arm_rows.keep(arms, shown.request_id)
    is_usable, notes = _usable_exposures(dataset, shown, is_other_arm, url)
    train_until, valid_until = _split_times(
        url, np.sort(np.append(dataset.exposures.time_ms, shown.time_ms[is_usable]))
    )
    has_exposure = (exposure_index >= 0) & is_usable[exposure_index]
    is_late = has_exposure & (shown.time_ms[exposure_index] < valid_until) & (feedback.time_ms >= valid_until)
    notes += _left_out("labels and plays without a usable exposure", ~has_exposure)
    notes += _left_out("labels and plays on the newest day of exposures before it", is_late)
    is_used = has_exposure & ~is_late
    new_index = np.cumsum(is_usable) - 1  # of a usable exposure among the usable ones
    added = _exposures(
        dataset, head, shown.take(is_usable), feedback.take(is_used), new_index[exposure_index[is_used]]
    )
    exposures = _merge_by_time(dataset.exposures, added)
    extended = replace(dataset, exposures=exposures, train_until_ms=train_until, valid_until_ms=valid_until)
    _check_newest_day(url, extended)
    note = (
        f"online store {url}: {len(added):,} exposures added to {len(dataset.exposures):,} of the data; the "
        f"newest day begins at {np.datetime64(valid_until, 'ms')} UTC"
    )
    added_tables = {} if tables_of is None else tables_of(extended.snapshot)
    tables = {**added_tables, **dataset.item_types}
    item_types, type_notes = _with_impressions(extended, tables, head, all_events)
    return replace(
        extended, item_types=item_types, notes=(*dataset.notes, note, *row_notes, *notes, *type_notes)
    )


def _read_events(dataset: Dataset, source: EventSource, logged_until_ms: int) -> tuple[Head, Events]:
    head, events = read_log(source, dataset.snapshot.time_ms)
    missing = [label for label in dataset.exposures.labels if label not in head.labels]
    if missing:
        raise LogSchemaError(
            f"{source.url}: labels are {list(head.labels)}, expected also {missing} as in the data. Name the "
            "store of a service on these data."
        )
    return head, events.take(events.logged_ms <= logged_until_ms)


def _with_impressions(
    dataset: Dataset, tables: Mapping[str, ItemTable], head: Head, events: Events
) -> tuple[dict[str, ItemTable], list[str]]:
    """Returns the item types of ``dataset``, those of ``tables`` with impressions in ``events``, and notes.

    Labels of the newest day are those of a service, which no training row contains.
    """
    item_types, notes = dict(dataset.item_types), []
    for name, table in tables.items():
        own = events.take(events.item_type == name)
        shown, feedback = own.take(own.kind == IMPRESSION), own.take(own.kind == LABEL)
        labels = [label for label in table.labels or dataset.tasks if label in head.labels]
        is_known = dataset.snapshot.users.lookup(shown.user_id) >= 0
        is_known &= table.items.lookup(shown.item_id) >= 0
        if not labels or not is_known.any():
            continue
        index = find_exposures(shown, feedback)
        is_used = (index >= 0) & is_known[index] & (feedback.time_ms < dataset.valid_until_ms)
        new_index = (np.cumsum(is_known) - 1)[index[is_used]]
        rows = _exposures(dataset, head, shown.take(is_known), feedback.take(is_used), new_index, labels)
        item_types[name] = replace(table, impressions=replace(rows, play_ms=None, position=None))
        notes.append(f"online store: {len(rows):,} impressions of the item type {name}")
        notes += _left_out(f"impressions of the item type {name} of unknown users or items", ~is_known)
    return item_types, notes


def _usable_exposures(
    dataset: Dataset, shown: Events, is_other_arm: NDArray[Any], url: str
) -> tuple[NDArray[Any], list[str]]:
    """Returns (M,) bool, and notes on the others. Raises DataError if no exposure is usable."""
    reasons = {
        "of users whose ids are unknown": dataset.snapshot.users.lookup(shown.user_id) < 0,
        "of unknown items": dataset.snapshot.works.lookup(shown.item_id) < 0,
        "that the data contain already": _is_in_data(shown, dataset.exposures),
        "of other arms": is_other_arm,
    }
    is_usable = np.ones(len(shown), bool)
    notes: list[str] = []
    for reason, is_bad in reasons.items():
        notes += _left_out(f"exposures {reason}", is_usable & is_bad)
        is_usable &= ~is_bad
    if not is_usable.any():
        raise DataError(f"{url}: none of {len(shown):,} exposures is usable. {'; '.join(notes)}".rstrip(". "))
    return is_usable, notes


def _left_out(rows: str, is_left_out: NDArray[Any]) -> list[str]:
    n = int(is_left_out.sum())
    return [f"online store: {n:,} {rows}, left out"] if n else []


def _is_in_data(shown: Events, exposures: Impressions) -> NDArray[Any]:
    """Returns (M,) bool: the event is an exposure of the data, with equal user, item and time."""
    same_time = exposures.take(np.isin(exposures.time_ms, shown.time_ms))
    known = {
        *zip(same_time.time_ms.tolist(), same_time.user_id.tolist(), same_time.work_id.tolist(), strict=True)
    }
    keys = zip(shown.time_ms.tolist(), shown.user_id.tolist(), shown.item_id.tolist(), strict=True)
    return np.array([key in known for key in keys], bool)


def _exposures(
    dataset: Dataset,
    head: Head,
    shown: Events,
    feedback: Events,
    index: NDArray[Any],
    labels_of_type: Sequence[str] | None = None,
) -> Impressions:
    """Returns ``shown`` as exposures of the dataset with the ``feedback`` on exposures ``index``.

    ``labels_of_type``: of another item type; None: those of works.
    """
    bits, play_ms = add_feedback(shown, feedback, index)
    is_known_scene = (shown.scene >= 0) & (shown.scene < len(head.scenes))
    scenes = head.map_scenes(dataset.snapshot.labels.get("scene", ()))[
        np.where(is_known_scene, shown.scene, len(head.scenes))
    ]
    labels = {
        label: (bits >> np.uint64(head.labels.index(label)) & np.uint64(1)).astype(np.uint8)
        for label in labels_of_type or dataset.exposures.labels
    }
    play = None if dataset.exposures.play_ms is None else play_ms
    position = None
    if dataset.exposures.position is not None:  # events count positions from 0
        position = np.clip(shown.position + 1, 0, np.iinfo(np.int16).max).astype(np.int16)
    return Impressions(
        shown.user_id, shown.item_id, shown.time_ms, scenes.astype(np.int32), labels, play, position
    )


def _merge_by_time(first: Impressions, new: Impressions) -> Impressions:
    def concat(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([one, other.astype(one.dtype, copy=False)])

    labels: Mapping[str, NDArray[Any]] = {
        name: concat(first.labels[name], new.labels[name]) for name in first.labels
    }
    play = None if first.play_ms is None or new.play_ms is None else concat(first.play_ms, new.play_ms)
    position = None
    if first.position is not None and new.position is not None:
        position = concat(first.position, new.position)
    user, work = concat(first.user_id, new.user_id), concat(first.work_id, new.work_id)
    joined = Impressions(
        user, work, concat(first.time_ms, new.time_ms), concat(first.scene, new.scene), labels, play, position
    )
    return joined.take(np.argsort(joined.time_ms, kind="stable"))


def _split_times(url: str, time_ms: NDArray[Any]) -> tuple[int, int]:
    valid_until = int(time_ms[-1]) + 1 - DAY_MS
    before = time_ms[time_ms < valid_until]
    train_until = int(before[-1]) + 1 - DAY_MS if len(before) else valid_until
    if not (time_ms < train_until).any():
        raise DataError(
            f"{url} and the data span too few days: no day is left for training before the validation day "
            "and the test day"
        )
    return train_until, valid_until


def _check_newest_day(url: str, dataset: Dataset) -> None:
    newest = dataset.split()[2]
    if not any(newest.labels[task].any() and not newest.labels[task].all() for task in dataset.tasks):
        raise DataError(
            f"{url}: in the {len(newest):,} exposures of the newest day each task {list(dataset.tasks)} "
            "has only one value, so quality cannot be measured. Train when there are more labels."
        )
