"""Simple recommendation methods, whose pages are compared with those of the cascade.

A method is fitted on a ``PastLog``. The result scores all items for given users. Popularity, attribute
rates, item-kNN, EASE^R and ALS need no features and take seconds; each has a small grid of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array, vstack

from karec.aggregates.rates import PRIOR_SHOWS, mean_rate, smoothed_rate
from karec.evaluate.als import factorize
from karec.evaluate.past_log import PastLog
from karec.times import DAY_MS

Scorer = Callable[[NDArray[Any]], NDArray[Any]]
"""Returns (B, N) float32 scores of all items for the user rows (B,)."""

USER_PRIOR = 8.0  # weight, in events, of all users' rate in a user's rate of a category
MAX_DENSE_ITEMS = 4_000  # of EASE^R: its inverse takes 64 MB and about 3 s of one core
MAX_REGRESSED_ITEMS = 16_000  # of the sparse variant: numbers of pairs take 0.5 GB
NEIGHBOURS = 100  # items that one item is regressed on in the sparse variant
ROWS = 1_024  # of item pairs in memory at once
TIE_BONUS = 1e-6  # score of the most popular item, far below the differences of scores


@dataclass(frozen=True)
class SimpleMethod:
    """A method and its parameters.

    fit    ``fit(log, **parameters)`` returns a scorer
    grid   returns the parameters to try on a log, the preferred ones first
    """

    fit: Callable[..., Scorer]
    grid: Callable[[PastLog], Sequence[Mapping[str, Any]]] = lambda _: ({},)


def fit_popularity(log: PastLog, days: float | None = None) -> Scorer:
    """Scores items by their smoothed rate; without impressions, by the number of positives.

    ``days``: rate of the last days, smoothed towards the rate of the whole log.
    """
    scores = _item_rates(log)
    if days is not None:
        is_recent = log.event_ms >= log.time_ms - days * DAY_MS
        taken, shown = (
            log.counts(selected).sum(axis=0) for selected in (is_recent & log.is_positive, is_recent)
        )
        rates = scores / max(float(scores.sum()), 1.0) if not log.has_impressions else scores
        scores = smoothed_rate(taken, shown, rates) if log.has_impressions else taken + rates
    return lambda users: np.tile(scores.astype(np.float32), (len(users), 1))


def fit_attribute_rates(log: PastLog, column: str) -> Scorer:
    """Scores by (user's smoothed rate in the item's category / rate of all users there) · item's rate.

    Without impressions, a user's rate in a category is its fraction of the user's positives. An item without
    a category has the factor 1.
    """
    codes = log.categories[column]
    n_values = int(codes.max()) + 1
    is_known = codes >= 0
    indicator = csr_array(
        (np.ones(int(is_known.sum()), np.float32), (np.flatnonzero(is_known), codes[is_known])),
        (len(codes), n_values),
    )
    taken = (log.taken @ indicator).toarray()
    shown = (
        (log.shown @ indicator).toarray()
        if log.has_impressions
        else np.repeat(taken.sum(axis=1, keepdims=True), n_values, axis=1)
    )
    mean = np.maximum(taken.sum(axis=0) / np.maximum(shown.sum(axis=0), 1.0), 1e-9)
    lift = (taken + USER_PRIOR * mean) / (shown + USER_PRIOR) / mean
    lift = np.concatenate([lift, np.ones((len(lift), 1))], axis=1)  # the last column is code −1
    popularity = _item_rates(log)
    return lambda users: np.asarray(lift[users][:, codes] * popularity, np.float32)


def fit_item_knn(log: PastLog, neighbours: int, shrinkage: float) -> Scorer:
    """Scores by Σ of similarities to the user's items: n_ij / (√(n_i·n_j) + shrinkage), best ``neighbours``.

    n_i: users who enjoyed item i; n_ij: users who enjoyed both.
    Source: M. Deshpande, G. Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22 (2004).
    """
    profiles = log.profiles
    similarity = csr_array(similar_by_counts(profiles, neighbours, shrinkage).T)
    return _break_ties(log, lambda users: (profiles[users] @ similarity).toarray())


def fit_ease(log: PastLog, penalty: float) -> Scorer:
    """Scores by X·B, where B minimises ‖X − X·B‖² + penalty·‖B‖² with a zero diagonal.

    With more than MAX_DENSE_ITEMS items, each of the MAX_REGRESSED_ITEMS most frequent items is regressed on
    the NEIGHBOURS most similar ones, and the other items have the score 0.
    Sources: H. Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019; X. Ning, G. Karypis,
    SLIM: sparse linear methods for top-N recommender systems, ICDM 2011, section V-C (feature selection).
    """
    profiles = log.profiles
    if log.shape[1] > MAX_DENSE_ITEMS:
        weights = sparse_regressions(profiles, penalty)
        return _break_ties(log, lambda users: (profiles[users] @ weights).toarray())
    pairs = (profiles.T @ profiles).toarray()
    np.fill_diagonal(pairs, pairs.diagonal() + penalty)
    inverse = cho_solve(cho_factor(pairs, overwrite_a=True), np.eye(len(pairs), dtype=np.float32))
    dense = (inverse / -inverse.diagonal()).astype(np.float32)
    np.fill_diagonal(dense, 0.0)
    return _break_ties(log, lambda users: profiles[users] @ dense)


def fit_als(log: PastLog, factors: int, weight: float, penalty: float) -> Scorer:
    """Scores by the inner products of ``factorize``."""
    users, items = factorize(log.profiles, factors, weight, penalty)
    return _break_ties(log, lambda rows: users[rows] @ items.T)


METHODS: Mapping[str, SimpleMethod] = {
    "popularity": SimpleMethod(fit_popularity),
    "recent popularity": SimpleMethod(
        fit_popularity, lambda _: tuple({"days": days} for days in (7, 3, 14, 1, 30))
    ),
    "attribute rates": SimpleMethod(
        fit_attribute_rates, lambda log: tuple({"column": column} for column in log.categories)
    ),
    "item-kNN": SimpleMethod(
        fit_item_knn,
        lambda _: tuple(
            {"neighbours": k, "shrinkage": shrinkage} for k in (400, 100) for shrinkage in (100.0, 10.0)
        ),
    ),
    "EASE^R": SimpleMethod(fit_ease, lambda _: tuple({"penalty": value} for value in (200.0, 800.0, 50.0))),
    "ALS": SimpleMethod(
        fit_als,
        lambda _: tuple(
            {"factors": factors, "weight": weight, "penalty": penalty}
            for weight, penalty in ((40.0, 100.0), (5.0, 30.0), (5.0, 10.0))
            for factors in (64, 16)
        ),
    ),
}


def _item_rates(log: PastLog) -> NDArray[Any]:
    """Returns (N,) float64: smoothed rates, or without impressions the numbers of positives + 1."""
    taken = log.taken.sum(axis=0)
    if not log.has_impressions:
        return np.asarray(taken, np.float64) + 1.0
    shown = log.shown.sum(axis=0)
    return smoothed_rate(taken, shown, mean_rate(taken, shown), PRIOR_SHOWS)


def _break_ties(log: PastLog, scorer: Scorer) -> Scorer:
    """Returns a scorer that orders items of equal score by popularity, such as all items of a new user."""
    popularity = fit_popularity(log)(np.zeros(1, np.int64))
    bonus = TIE_BONUS * popularity / popularity.max(initial=1e-9)
    return lambda users: np.asarray(scorer(users) + bonus, np.float32)


def _item_pairs(profiles: csr_array) -> Iterator[tuple[int, csr_array]]:
    """Yields (first item, (≤ ROWS, N) numbers of users who enjoyed both items)."""
    by_item = csr_array(profiles.T)
    for begin in range(0, by_item.shape[0], ROWS):
        yield begin, csr_array(by_item[begin : begin + ROWS] @ profiles)


def similar_by_counts(profiles: csr_array, k: int, shrinkage: float) -> csr_array:
    """Returns (N, N) similarities of ``fit_item_knn``, the ``k`` largest of each row."""
    n_users = np.bincount(profiles.indices, minlength=profiles.shape[1]).astype(np.float32)
    blocks = []
    for begin, pairs in _item_pairs(profiles):
        row = begin + _rows_of(pairs)
        pairs.data /= np.sqrt(n_users[row] * n_users[pairs.indices]) + shrinkage
        pairs.data[row == pairs.indices] = 0.0
        pairs.eliminate_zeros()
        blocks.append(_largest_of_rows(pairs, k))
    return csr_array(vstack(blocks))


def _largest_of_rows(matrix: csr_array, k: int) -> csr_array:
    """Returns the ``k`` largest entries of each row."""
    kept = np.concatenate(
        [
            begin + np.argpartition(-matrix.data[begin:end], k - 1)[:k]
            if end - begin > k
            else np.arange(begin, end)
            for begin, end in pairwise(matrix.indptr.tolist())
        ]
    )
    return csr_array((matrix.data[kept], (_rows_of(matrix)[kept], matrix.indices[kept])), matrix.shape)


def _rows_of(matrix: csr_array) -> NDArray[Any]:
    """Returns the row of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def sparse_regressions(profiles: csr_array, penalty: float) -> csr_array:
    """Returns B (N, N) of ``fit_ease`` with at most NEIGHBOURS entries in a column."""
    frequency = np.bincount(profiles.indices, minlength=profiles.shape[1])
    frequent = np.sort(np.argsort(-frequency, kind="stable")[:MAX_REGRESSED_ITEMS])
    columns, n = csr_array(profiles[:, frequent]), len(frequent)
    counts = np.zeros((n + 1, n + 1), np.uint16)  # the last row and column are of no item
    for begin, pairs in _item_pairs(columns):
        block = np.minimum(pairs.toarray(), np.iinfo(np.uint16).max)
        counts[begin : begin + len(block), :n] = block
    similar = similar_by_counts(columns, NEIGHBOURS, 0.0)
    row = _rows_of(similar)
    neighbours = np.full((n, NEIGHBOURS), n)
    neighbours[row, np.arange(len(row)) - similar.indptr[row]] = similar.indices
    weights = np.empty(neighbours.shape, np.float32)
    for begin in range(0, n, ROWS):
        chosen = neighbours[begin : begin + ROWS]
        gram = counts[chosen[:, :, None], chosen[:, None, :]].astype(np.float32)
        gram += penalty * np.eye(NEIGHBOURS, dtype=np.float32)
        target = counts[np.arange(begin, begin + len(chosen))[:, None], chosen].astype(np.float32)
        weights[begin : begin + ROWS] = np.linalg.solve(gram, target[:, :, None])[:, :, 0]
    is_item = neighbours < n
    places = frequent[neighbours[is_item]], frequent[np.nonzero(is_item)[0]]
    return csr_array((weights[is_item], places), (profiles.shape[1],) * 2)
