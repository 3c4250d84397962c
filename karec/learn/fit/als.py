"""Chooses the settings of ALS factors on the last events of the training days.

Factors are fitted on the earlier events with each of SETTINGS. The best has the highest mean NDCG@20 of what
the users enjoyed later.

Cost  a fit (``karec.evaluate.als``) and O(users · items · F) for each of SETTINGS, at most MAX_USERS users.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from karec.evaluate.als import factorize
from karec.evaluate.metrics.retrieval import ndcg_at, top_columns
from karec.features.cowatch import ALWAYS_MS

MIN_WATCHERS = 5  # users who enjoyed an item; with fewer its vector is noise
EARLIER = 0.85  # fraction of the events that factors are fitted on
MAX_USERS = 1_000
K = 20


class AlsSetting(NamedTuple):
    """Settings of ``factorize``; the rank is that of co-watch vectors, divided by ``divisor``."""

    divisor: int
    weight: float
    penalty: float


SETTINGS = (AlsSetting(1, 5, 10), AlsSetting(1, 10, 30), AlsSetting(1, 40, 100), AlsSetting(4, 40, 100))


class Enjoyed(NamedTuple):
    """Rows of users (U,), ids of items (N,) with MIN_WATCHERS, and (U, N) ones: the user enjoyed the item."""

    users: NDArray[Any]
    items: NDArray[Any]
    pairs: csr_array


def enjoyed_pairs(users: NDArray[Any], items: NDArray[Any]) -> Enjoyed:
    """Returns the distinct pairs of ``users (P,)`` and ``items (P,)``."""
    pairs = np.unique(np.stack([users, items]), axis=1)
    ids, column, watchers = np.unique(pairs[1], return_inverse=True, return_counts=True)
    has_watchers = watchers >= MIN_WATCHERS
    is_kept = has_watchers[column]
    rows, user = np.unique(pairs[0][is_kept], return_inverse=True)
    item = (np.cumsum(has_watchers) - 1)[column[is_kept]]
    ones = np.ones(len(user), np.float32)
    return Enjoyed(rows, ids[has_watchers], csr_array((ones, (user, item)), (len(rows), has_watchers.sum())))


def choose_als(
    users: NDArray[Any], items: NDArray[Any], time_ms: NDArray[Any], rank: int, seed: int
) -> AlsSetting:
    """Returns the best of SETTINGS for what ``users (P,)`` enjoyed; the first if nothing can be measured."""
    timed = time_ms[time_ms > ALWAYS_MS]
    if not len(timed):
        return SETTINGS[0]
    is_early = time_ms < np.quantile(timed, EARLIER)
    enjoyed = enjoyed_pairs(users[is_early], items[is_early])
    later = np.unique(np.stack([users[~is_early], items[~is_early]]), axis=1)
    is_known = np.isin(later[0], enjoyed.users) & np.isin(later[1], enjoyed.items)
    user, item = (np.searchsorted(ids, part[is_known]) for ids, part in zip(enjoyed[:2], later, strict=True))
    if not len(user):
        return SETTINGS[0]
    is_new = np.asarray(enjoyed.pairs[user, item] == 0)
    user, item = user[is_new], item[is_new]
    measured = np.sort(np.random.default_rng(seed).permutation(np.unique(user))[:MAX_USERS])
    if not len(measured):
        return SETTINGS[0]
    is_measured = np.isin(user, measured)
    user, item = np.searchsorted(measured, user[is_measured]), item[is_measured]
    known = enjoyed.pairs[measured].tocoo().coords

    def ndcg(setting: AlsSetting) -> float:
        n = als_rank(rank, setting)
        x, y = factorize(enjoyed.pairs, n, setting.weight, setting.penalty, seed=seed)
        scores = x[measured] @ y.T
        scores[known] = -np.inf
        top = top_columns(scores, np.empty((len(scores), 0), np.int64), K)
        return float(ndcg_at(top, user, item, K).mean())

    return max(SETTINGS, key=ndcg)


def als_rank(rank: int, setting: AlsSetting) -> int:
    """Returns the rank of factors for co-watch vectors of ``rank`` dimensions."""
    return max(rank // setting.divisor, min(rank, 8))
