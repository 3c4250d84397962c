"""Splits the log by time into history, training, validation and test.

A dataset is split at three moments. If given parts overlap in time, or the log has no times, the rows get
invented times, so that each part is on days of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.data.contract import Contract
from karec.data.log_settings import Split
from karec.data.report import format_time
from karec.errors import DataError
from karec.times import DAY_MS

TRAIN, VALIDATION, TEST = range(3)
PART_NAMES = {"train": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION}
PART_NAMES |= {"dev": VALIDATION, "test": TEST, "training": TRAIN}
TRAINING_DAYS = 10
MIN_POSITIVES = 3  # of a user in a leave-one-out split


@dataclass(frozen=True, eq=False)
class SplitLog:
    """Impressions ordered by time, user and item.

    cuts          Unix ms at which training, validation and test begin
    is_timeless   the times are invented
    """

    impressions: Impressions
    cuts: tuple[int, int, int]
    is_timeless: bool
    notes: tuple[str, ...] = ()


def split_log(log: Impressions, part: NDArray[Any] | None, contract: Contract, start_ms: int) -> SplitLog:
    """Returns the log with its cuts. Raises DataError if a part has no rows.

    Args:
        log: Ordered by time, user and item.
        part: (M,) TRAIN, VALIDATION or TEST. None: the contract has fractions, moments or ``by``.
        start_ms: Start of the invented days.
    """
    split, notes = contract.split, tuple[str, ...]()
    if split.by == "last":
        part, notes = _last_positives(log, contract)
    if part is not None:
        _check_given_parts(part, contract)
    if contract.has_times and (part is None or _are_in_order(log.time_ms, part)):
        cuts = _cuts(log.time_ms, contract) if part is None else _cuts_of_parts(log.time_ms, part, split)
        last_ms = int(log.time_ms[-1])
        if split.begin is not None and cuts[0] < cuts[1] < cuts[2] and cuts[2] > last_ms:
            raise DataError(
                f"{contract.name}: no event is in the test, which begins at {format_time(cuts[2])}; the last "
                f"event is at {format_time(last_ms)}. Change split.begin."
            )
        if not cuts[0] < cuts[1] < cuts[2] <= last_ms:
            raise DataError(
                f"{contract.name}: {len(log):,} impressions at {len(np.unique(log.time_ms)):,} times cannot "
                "be split by time into history, training, validation and test: is the right column the time?"
            )
        return SplitLog(log, cuts, False, notes)
    _, user = np.unique(log.user_id, return_inverse=True)
    time_ms = start_ms + invent_days(user, split, part, in_order=contract.has_times) * DAY_MS
    if contract.has_times:
        time_ms += np.minimum(_places(user), DAY_MS - 1)
    log = replace(log, time_ms=time_ms)
    log = log.take(np.lexsort((log.work_id, log.user_id, log.time_ms)))
    cuts = (
        start_ms + DAY_MS,
        start_ms + (TRAINING_DAYS + 1) * DAY_MS,
        start_ms + (TRAINING_DAYS + 2) * DAY_MS,
    )
    training, validation, test = np.searchsorted(log.time_ms, cuts).tolist()
    if not training < validation < test < len(log):
        raise DataError(
            f"{contract.name}: no user has enough of the {len(log):,} rows to split them into "
            f"training, validation ({split.validation:.0%}) and test ({split.test:.0%})"
        )
    return SplitLog(log, cuts, True, (*notes, _times_note(contract, part)))


def invent_days(
    user: NDArray[Any], split: Split, part: NDArray[Any] | None = None, *, in_order: bool = False
) -> NDArray[Any]:
    """Returns (M,) int64: a day for each row of ``user`` (M,), by the fractions of ``split`` or by ``part``.

    Day 0 is history. Then there are TRAINING_DAYS days of training, one of validation and one of test. The
    rows of a user are in the given or a random order. A user with few rows lacks parts; a single row is
    training. The same input gives the same days.
    """
    order_key = np.arange(len(user)) if in_order else np.random.default_rng(0).random(len(user))
    if part is None:
        return _assign_days(user, order_key, split.history, split.validation, split.test)
    days = np.array([0, TRAINING_DAYS + 1, TRAINING_DAYS + 2])[part]
    is_train = part == TRAIN
    validation = 0.0 if (part == VALIDATION).any() else split.validation
    days[is_train] = _assign_days(user[is_train], order_key[is_train], split.history, validation, 0.0)
    return np.asarray(days)


def _assign_days(
    user: NDArray[Any], order_key: NDArray[Any], history: float, validation: float, test: float
) -> NDArray[Any]:
    order = np.lexsort((order_key, user))
    count = np.bincount(user)
    place = np.empty(len(user))
    place[order] = _places(user[order])
    share = (place + 0.5) / count[user]
    train_end, valid_end = 1 - validation - test, 1 - test
    training_share = (share - history) / (train_end - history)
    day = 1 + np.minimum((training_share * TRAINING_DAYS).astype(np.int64), TRAINING_DAYS - 1)
    day[share < history] = 0
    day[share >= train_end] = TRAINING_DAYS + 1
    day[share >= valid_end] = TRAINING_DAYS + 2
    return np.asarray(day)


def _places(user: NDArray[Any]) -> NDArray[Any]:
    """Returns (M,) int64: the number of earlier rows of the same user."""
    order = np.argsort(user, kind="stable")
    count = np.bincount(user)
    places = np.empty(len(user), np.int64)
    places[order] = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    return places


def _last_positives(log: Impressions, contract: Contract) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Returns the parts of leave-one-out: test begins with the user's last positive, validation with the one
    before. Users with fewer than MIN_POSITIVES are only in training.
    """
    _, user = np.unique(log.user_id, return_inverse=True)
    is_positive = contract.meanings.is_enjoyed(log.labels)
    count = np.bincount(user, is_positive).astype(np.int64)
    order = np.argsort(user, kind="stable")
    rows_before = np.cumsum(np.bincount(user)) - np.bincount(user)
    running = np.concatenate([[0], np.cumsum(is_positive[order])])
    nth = np.empty(len(log), np.int64)  # positives of the user up to the row
    nth[order] = running[1:] - running[rows_before[user[order]]]
    left = count[user] - nth
    is_split = count[user] >= MIN_POSITIVES
    part = np.where(is_split & (left == 0), TEST, np.where(is_split & (left == 1), VALIDATION, TRAIN))
    n_few = int((count < MIN_POSITIVES).sum())
    note = f"{n_few:,} of {len(count):,} users have fewer than {MIN_POSITIVES} positives: all in training"
    return part, (note,) if n_few else ()


def _check_given_parts(part: NDArray[Any], contract: Contract) -> None:
    counts = np.bincount(part, minlength=3)
    if not (counts[TRAIN] and counts[TEST]):
        names = [name for name, number in (("training", TRAIN), ("test", TEST)) if not counts[number]]
        raise DataError(f"{contract.name}: no row is in {' or '.join(names)}. Change [split] in data.toml.")


def _are_in_order(time_ms: NDArray[Any], part: NDArray[Any]) -> bool:
    """Returns True if each part begins after the end of the part before."""
    bounds = [(time_ms[part == number].min(), time_ms[part == number].max()) for number in np.unique(part)]
    return all(end < begin for (_, end), (begin, _) in pairwise(bounds))


def _cuts_of_parts(time_ms: NDArray[Any], part: NDArray[Any], split: Split) -> tuple[int, int, int]:
    train = time_ms[part == TRAIN]
    validation = time_ms[part == VALIDATION]
    begin = validation[0] if len(validation) else train[int((1 - split.validation) * len(train))]
    return int(train[int(split.history * len(train))]), int(begin), int(time_ms[part == TEST][0])


def _cuts(time_ms: NDArray[Any], contract: Contract) -> tuple[int, int, int]:
    split, n = contract.split, len(time_ms)
    if not n:
        raise DataError(
            f"{contract.events.path}: no row from split.begin.training on: is the right column the time?"
        )
    if split.begin is not None:
        begin = split.begin
        training, validation, test = map(contract.to_ms, (begin.training, begin.validation, begin.test))
        return training, validation, test
    shares = (split.history, 1 - split.validation - split.test, 1 - split.test)
    training, validation, test = (int(time_ms[min(int(share * n), n - 1)]) for share in shares)
    return training, validation, test


def _times_note(contract: Contract, part: NDArray[Any] | None) -> str:
    split = contract.split
    if part is not None:
        reason = "the parts overlap in time" if contract.has_times else "the log has no times"
        return f"{reason}: times are invented, so that each part is on days of its own"
    train = 1 - split.history - split.validation - split.test
    return (
        f"the log has no times: of each user's rows, in a random order, "
        f"{split.history:.0%} are only history, {train:.0%} train, {split.validation:.0%} are validation "
        f"and {split.test:.0%} the test; times are invented"
    )
