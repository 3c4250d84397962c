"""A dataset that goes on with what an event log holds: more exposures with labels, and the newest day to
measure on.

Impressions  Those that the data lack and whose user and work the data hold. A label or a play that came later
           belongs to the user's last exposure of the work before it; one without, or of one that is left out,
           is left out, and counted. So is one that came on the newest day and belongs to an exposure before
           it: no row of that day may know it, and a bundle of the moment at which the day begins leaves it to
           the state store, which would count it once more.
Days       The newest day, the 24 hours that end with the last exposure, is measured on; the last day before
           it that has exposures is validation; everything before is training.
Cost       O(M log M) for M exposures; memory: the log's events since the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import EXPOSURE, LABEL, PLAY, Events, Head
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.schema import LATEST_MS
from karec.errors import DataError, LogSchemaError
from karec.online.event_log.head import read_head
from karec.online.event_log.parts import hours, parts_of, read_part
from karec.online.event_log.reader import read_events
from karec.times import DAY_MS


def check_event_log(folder: Path) -> None:
    """What is cheap to see before data are read: LogSchemaError for no event log, DataError for an empty
    one."""
    read_head(folder)
    if not hours(folder):
        raise DataError(f"{folder}: the event log is empty, and nothing can be learned from it")


def newest_append_ms(folder: Path) -> int:
    """The moment of the last append to the event log in ``folder``; LogSchemaError for a damaged part."""
    head = read_head(folder)
    parts = (read_part(part, head) for part in parts_of(folder, hours(folder)[-1]))
    return max((int(events.logged_ms.max()) for events in parts if len(events)), default=LATEST_MS)


def with_events(dataset: Dataset, folder: Path, logged_until_ms: int = LATEST_MS) -> Dataset:
    """``dataset`` with the exposures of the event log in ``folder``, cut anew by days, and notes on what was
    left out. Events that were appended after ``logged_until_ms`` are not read.

    Raises LogSchemaError for a log that lacks labels of the data, or a damaged part; DataError where no
    exposure can teach, where the days before the newest one are too few, and where no task has both values on
    the newest day, so that nothing could be measured.
    """
    head = read_head(folder)
    lacking = [label for label in dataset.exposures.labels if label not in head.labels]
    if lacking:
        raise LogSchemaError(
            f"{folder} is a log of the labels {list(head.labels)}, the data have {lacking} besides: name the "
            "log of the service on these data"
        )
    events = read_events(folder, dataset.snapshot.time_ms, LATEST_MS)
    events = events.take(events.logged_ms <= logged_until_ms)
    shown = events.take(events.kind == EXPOSURE)
    later = events.take((events.kind == LABEL) | (events.kind == PLAY))
    # of all that were shown: what is said of one that is left out is said of no other
    of = _exposure_of(shown, later)
    counts = {
        "of users that the data do not hold": dataset.snapshot.users.lookup(shown.user_id) < 0,
        "of works that the data do not hold": dataset.snapshot.works.lookup(shown.item_id) < 0,
        "that the data hold already": _held(shown, dataset.exposures),
    }
    kept = np.ones(len(shown), bool)
    left_out = []
    for why, bad in counts.items():
        if (kept & bad).any():
            left_out.append(f"event log: {int((kept & bad).sum()):,} exposures {why}, left out")
        kept &= ~bad
    if not kept.any():
        raise DataError(
            f"{folder}: none of {len(shown):,} exposures can teach. {'; '.join(left_out)}".rstrip(". ")
        )
    train_until, valid_until = _cuts(
        folder, np.sort(np.append(dataset.exposures.time_ms, shown.time_ms[kept]))
    )
    without = (of < 0) | ~kept[of]
    too_late = ~without & (shown.time_ms[of] < valid_until) & (later.time_ms >= valid_until)
    reasons = (
        (without, "without an exposure that teaches"),
        (too_late, "on the newest day of exposures before it"),
    )
    for said, why in reasons:
        if said.any():
            left_out.append(f"event log: {int(said.sum()):,} labels and plays {why}, left out")
    teaches = ~(without | too_late)
    place = np.cumsum(kept) - 1  # of those that are kept, among themselves
    more = _exposures(dataset, head, shown.take(kept), later.take(teaches), place[of[teaches]])
    shown = shown.take(kept)
    exposures = _in_order(dataset.exposures, more)
    told = f"event log {folder}: {len(shown):,} exposures beside {len(dataset.exposures):,} of the data"
    found = replace(dataset, exposures=exposures, train_until_ms=train_until, valid_until_ms=valid_until)
    _check_newest_day(folder, found)
    begins = np.datetime64(valid_until, "ms")
    return replace(found, notes=(*dataset.notes, f"{told}; the newest day begins at {begins} UTC", *left_out))


def _held(shown: Events, exposures: Impressions) -> NDArray[Any]:
    """(M,) bool: which of the events are exposures of the data: the same user, work and moment."""
    near = exposures.take(np.isin(exposures.time_ms, shown.time_ms))
    theirs = {*zip(near.time_ms.tolist(), near.user_id.tolist(), near.work_id.tolist(), strict=True)}
    ours = zip(shown.time_ms.tolist(), shown.user_id.tolist(), shown.item_id.tolist(), strict=True)
    return np.array([each in theirs for each in ours], bool)


def _exposure_of(shown: Events, later: Events) -> NDArray[Any]:
    """(L,) for each of ``later`` the place in ``shown`` of the user's last exposure of the work until then,
    or −1."""
    both, n = Events.joined([shown, later]), len(shown)
    order = np.lexsort((np.arange(len(both)), both.time_ms, both.item_id, both.user_id))
    last = np.maximum.accumulate(np.where(order < n, np.arange(len(order)), -1))
    of = np.where(last >= 0, order[last], -1)
    same = (both.user_id[of] == both.user_id[order]) & (both.item_id[of] == both.item_id[order])
    found = np.empty(len(both), np.int64)
    found[order] = np.where((of >= 0) & same, of, -1)
    return found[n:]


def _exposures(dataset: Dataset, head: Head, shown: Events, later: Events, of: NDArray[Any]) -> Impressions:
    """``shown`` as exposures of the data's labels and scenes, with what ``later`` says of the exposures
    ``of``."""
    bits, play_ms = shown.labels.copy(), shown.play_ms.copy()
    np.bitwise_or.at(bits, of, later.labels)
    np.maximum.at(play_ms, of, later.play_ms)
    named = (shown.scene >= 0) & (shown.scene < len(head.scenes))
    scenes = head.codes_of(dataset.snapshot.labels.get("scene", ()))[
        np.where(named, shown.scene, len(head.scenes))
    ]
    labels = {
        label: (bits >> np.uint64(head.labels.index(label)) & np.uint64(1)).astype(np.uint8)
        for label in dataset.exposures.labels
    }
    # nothing told: nothing played
    play = None if dataset.exposures.play_ms is None else np.maximum(play_ms, 0)
    return Impressions(shown.user_id, shown.item_id, shown.time_ms, scenes.astype(np.int32), labels, play)


def _in_order(first: Impressions, more: Impressions) -> Impressions:
    def each(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([one, other.astype(one.dtype, copy=False)])

    labels: Mapping[str, NDArray[Any]] = {
        name: each(first.labels[name], more.labels[name]) for name in first.labels
    }
    play = None if first.play_ms is None or more.play_ms is None else each(first.play_ms, more.play_ms)
    user, work = each(first.user_id, more.user_id), each(first.work_id, more.work_id)
    joined = Impressions(
        user, work, each(first.time_ms, more.time_ms), each(first.scene, more.scene), labels, play
    )
    return joined.take(np.argsort(joined.time_ms, kind="stable"))


def _cuts(folder: Path, time_ms: NDArray[Any]) -> tuple[int, int]:
    """(the moment at which validation begins, that of the newest day) of exposures in order of time."""
    valid_until = int(time_ms[-1]) + 1 - DAY_MS
    before = time_ms[time_ms < valid_until]
    train_until = int(before[-1]) + 1 - DAY_MS if len(before) else valid_until
    if not (time_ms < train_until).any():
        raise DataError(
            f"{folder} and the data span too few days: the newest is measured on, the one before is "
            "validation, and nothing is left to learn from"
        )
    return train_until, valid_until


def _check_newest_day(folder: Path, dataset: Dataset) -> None:
    newest = dataset.split()[2]
    if not any(newest.labels[task].any() and not newest.labels[task].all() for task in dataset.tasks):
        raise DataError(
            f"{folder}: of {len(newest):,} exposures of the newest day each task {list(dataset.tasks)} has "
            "one value alone, so that nothing can be measured: train when more labels have come"
        )
