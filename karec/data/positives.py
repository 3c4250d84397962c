"""Draws negatives for a log that has only positives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.log_settings import Negatives

MAX_DRAWS = 8  # of an item that the user has a positive of, before the negative is left out


def draw_negatives(
    user: NDArray[Any], item: NDArray[Any], part: NDArray[Any], n_items: int, settings: Negatives
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draws negatives for the positives ``user``, ``item`` (M,), rows of users and of ``n_items`` items.

    An item is drawn with probability ∝ (its positives in part 0 + 1)^popularity, and again if the user took
    it. The same input gives the same draws.

    Args:
        part: (M,) 0 for history and training, 1 for validation, 2 for test. A draw ignores what the user
            takes in a later part: a negative of training that excludes it would show the answers of the test.
    Returns:
        Positions of the positives (P,) and the items drawn for them (P,).
    Cost:
        O(M · per_positive · log M).
    """
    generator = np.random.default_rng(0)
    ends = np.cumsum((np.bincount(item[part == 0], minlength=n_items) + 1.0) ** settings.popularity)
    pairs = user.astype(np.int64) * n_items + item
    order = np.lexsort((part, pairs))
    positive_pairs, first = np.unique(pairs[order], return_index=True)
    first_part = part[order][first]
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
        is_negative = (positive_pairs[at] != pair) | (first_part[at] > part[positions[open_places]])
        negatives[open_places[is_negative]] = items[is_negative]
        open_places = open_places[~is_negative]
    return positions[negatives >= 0], negatives[negatives >= 0]


def negatives_note(settings: Negatives) -> str:
    return (
        f"the log has only positives: {settings.per_positive} negatives for each were drawn, by "
        f"popularity to the power {settings.popularity:g}; metrics on them do not show how often a "
        "shown item is taken"
    )
