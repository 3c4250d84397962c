"""A log without times: each user's positives are put into an order that is drawn, and get moments that are
made up.

Of each user, by the shares of [split]: the first positives make histories only; the next train, over STEPS
days, so that an earlier one is the history of a later one; those of validation have one day, and those of the
test the day after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.contract import Split
from karec.times import DAY_MS

STEPS = 10  # days of training


def made_up_days(user: NDArray[Any], split: Split) -> NDArray[Any]:
    """(M,) int64: the day of each positive of ``user (M,)``, numbers from 0: history; 1 … STEPS: training;
    then one of validation and one of the test. Of few positives a part may have none: one alone trains. The
    same input gives the same days.
    """
    drawn = np.random.default_rng(split.seed).random(len(user))
    order = np.lexsort((drawn, user))
    count = np.bincount(user)
    place = np.empty(len(user))
    place[order] = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    share = (place + 0.5) / count[user]
    train_end, valid_end = 1 - split.validation - split.test, 1 - split.test
    within = (share - split.history) / (train_end - split.history)
    day = 1 + np.minimum((within * STEPS).astype(np.int64), STEPS - 1)
    day[share < split.history] = 0
    day[share >= train_end] = STEPS + 1
    day[share >= valid_end] = STEPS + 2
    return np.asarray(day)


def cuts(start_ms: int) -> tuple[int, int, int]:
    """(end of what is history, of training, of validation): moments, where day 0 begins at ``start_ms``."""
    return start_ms + DAY_MS, start_ms + (STEPS + 1) * DAY_MS, start_ms + (STEPS + 2) * DAY_MS


def note(split: Split) -> str:
    train = 1 - split.history - split.validation - split.test
    return (
        f"the log has no times: of each user's positives, in an order drawn from seed {split.seed}, "
        f"{split.history:.0%} are history alone, {train:.0%} train, {split.validation:.0%} are validation "
        f"and {split.test:.0%} the test; moments are made up"
    )
