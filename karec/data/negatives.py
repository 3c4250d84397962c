"""Negatives for a log of positives alone: items that were not taken, drawn for each positive, and said to be
so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.contract import Negatives

DRAWS = 8  # of an item that the user has a positive of, before it is left out


def draw_negatives(
    user: NDArray[Any], item: NDArray[Any], n_items: int, settings: Negatives, seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(places (P,), items (P,)): of each positive in ``user, item (M,)``, rows of ``n_items`` items, its
    negatives.

    An item is drawn with a chance ∝ (its positives + 1)^popularity, again where the user has a positive of it
    at any moment, and left out after DRAWS times. The same input gives the same draws. O(M·per_positive·log
    M).
    """
    generator = np.random.default_rng(seed)
    chance = (np.bincount(item, minlength=n_items) + 1.0) ** settings.popularity
    ends = np.cumsum(chance)
    taken = np.unique(user.astype(np.int64) * n_items + item)
    places = np.repeat(np.arange(len(user)), settings.per_positive)
    drawn = np.full(len(places), -1, np.int64)
    open_places = np.arange(len(places))
    for _ in range(DRAWS):
        if not len(open_places):
            break
        found = np.searchsorted(ends, generator.random(len(open_places)) * ends[-1], side="right")
        found = np.minimum(found, n_items - 1)
        key = user[places[open_places]].astype(np.int64) * n_items + found
        at = np.minimum(np.searchsorted(taken, key), len(taken) - 1)
        free = taken[at] != key
        drawn[open_places[free]] = found[free]
        open_places = open_places[~free]
    kept = drawn >= 0
    return places[kept], drawn[kept]
