"""Completes a log that has only positives: draws negatives, and invents times if it has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.contract import Negatives, Split
from karec.times import DAY_MS

MAX_DRAWS = 8  # of an item that the user has a positive of, before the negative is left out
TRAINING_DAYS = 10


def draw_negatives(
    user: NDArray[Any], item: NDArray[Any], n_items: int, settings: Negatives
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draws negatives for the positives ``user``, ``item`` (M,), rows of users and of ``n_items`` items.

    An item is drawn with probability ∝ (its positives + 1)^popularity, and again if the user took it. The
    same input gives the same draws.

    Returns:
        Positions of the positives (P,) and the items drawn for them (P,).
    Cost:
        O(M · per_positive · log M).
    """
    generator = np.random.default_rng(0)
    ends = np.cumsum((np.bincount(item, minlength=n_items) + 1.0) ** settings.popularity)
    positive_pairs = np.unique(user.astype(np.int64) * n_items + item)
    positions = np.repeat(np.arange(len(user)), settings.per_positive)
    negatives = np.full(len(positions), -1, np.int64)
    open_places = np.arange(len(positions))
    for _ in range(MAX_DRAWS):
        if not len(open_places):
            break
        items = np.searchsorted(ends, generator.random(len(open_places)) * ends[-1], side="right")
        items = np.minimum(items, n_items - 1)
        pair = user[positions[open_places]].astype(np.int64) * n_items + items
        at = np.minimum(np.searchsorted(positive_pairs, pair), len(positive_pairs) - 1)
        is_negative = positive_pairs[at] != pair
        negatives[open_places[is_negative]] = items[is_negative]
        open_places = open_places[~is_negative]
    return positions[negatives >= 0], negatives[negatives >= 0]


def invent_days(user: NDArray[Any], split: Split) -> NDArray[Any]:
    """Returns (M,) int64: a day for each positive of ``user`` (M,), by the fractions of ``split``.

    Day 0 is history, 1 to TRAINING_DAYS training, then come one day of validation and one of test, each with
    positives of the user in a random order. A user with few positives lacks parts; a single one is training.
    The same input gives the same days.
    """
    order_key = np.random.default_rng(0).random(len(user))
    order = np.lexsort((order_key, user))
    count = np.bincount(user)
    place = np.empty(len(user))
    place[order] = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    share = (place + 0.5) / count[user]
    train_end, valid_end = 1 - split.validation - split.test, 1 - split.test
    training_share = (share - split.history) / (train_end - split.history)
    day = 1 + np.minimum((training_share * TRAINING_DAYS).astype(np.int64), TRAINING_DAYS - 1)
    day[share < split.history] = 0
    day[share >= train_end] = TRAINING_DAYS + 1
    day[share >= valid_end] = TRAINING_DAYS + 2
    return np.asarray(day)


def invented_cuts(start_ms: int) -> tuple[int, int, int]:
    """Returns the ends of history, training and validation if day 0 begins at ``start_ms``."""
    history, training, validation = (start_ms + n * DAY_MS for n in (1, TRAINING_DAYS + 1, TRAINING_DAYS + 2))
    return history, training, validation


def negatives_note(settings: Negatives) -> str:
    return (
        f"the log has only positives: {settings.per_positive} negatives for each were drawn, by "
        f"popularity to the power {settings.popularity:g}; metrics on them do not show how often a "
        "shown item is taken"
    )


def times_note(split: Split) -> str:
    train = 1 - split.history - split.validation - split.test
    return (
        f"the log has no times: of each user's positives, in a random order, "
        f"{split.history:.0%} are only history, {train:.0%} train, {split.validation:.0%} are validation "
        f"and {split.test:.0%} the test; times are invented"
    )
