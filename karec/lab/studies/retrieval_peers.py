"""Baselines of retrieval: popularity, item-kNN, EASE^R, ALS and BPR, each at the best settings of its grid.

A baseline is fitted on the matrix (users, works) of ones, and returns each user's best works that the user
has not taken. ALS, BPR and kNN are those of the package implicit. EASE^R is the sparse
variant of ``karec.evaluate.simple_methods``, in which each item is regressed on its most similar items.

Sources  Y. Hu et al., Collaborative filtering for implicit feedback datasets, ICDM 2008 (ALS); S. Rendle et
         al., BPR, UAI 2009; B. Sarwar et al., Item-based collaborative filtering, WWW 2001; H. Steck,
         Embarrassingly shallow autoencoders for sparse data, WWW 2019 (EASE^R).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.retrieval import top_columns
from karec.evaluate.simple_methods import sparse_regressions

Settings = dict[str, Any]
MIN_SCORE = -1e30  # implicit pads short results with lower scores
BATCH = 512  # users whose scores are in memory at once


@dataclass(frozen=True)
class Peer:
    """A baseline.

    fit    ``fit(matrix, settings, seed)`` returns a model of implicit; None for popularity
    start  settings at which the search begins
    grid   values of each setting
    """

    name: str
    fit: Callable[[Any, Settings, int], Any]
    start: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]


def top_of_peer(
    peer: Peer, matrix: Any, settings: Settings, users: NDArray[Any], k: int, seed: int
) -> NDArray[Any]:
    """Returns (U, k) works of the rows ``users`` (U,) of ``matrix`` (scipy CSR), best first, padded with −1.

    Works that the user has taken are excluded.
    """
    model = peer.fit(matrix, settings, seed)
    if model is None:
        return _popular(matrix, users, k)
    ids, scores = model.recommend(users, matrix[users], N=k, filter_already_liked_items=True)
    ids = np.where(np.isfinite(scores) & (scores > MIN_SCORE) & (ids >= 0), ids, -1)
    return _without_repeats(ids, matrix, users)


def choose(peer: Peer, score: Callable[[Settings], float]) -> tuple[Settings, list[tuple[Settings, float]]]:
    """Returns (settings of the best ``score``, all trials: settings with their score).

    Coordinate search: one setting at a time over its grid, until a round over all settings changes none.
    """
    best = dict(peer.start)
    trials = [(best, score(best))]
    has_changed = bool(peer.grid)
    while has_changed:
        has_changed = False
        for name, values in peer.grid.items():
            for value in values:
                settings = {**best, name: value}
                if not any(settings == trial for trial, _ in trials):
                    trials.append((settings, score(settings)))
            top = max(trials, key=lambda trial: trial[1])[0]
            has_changed |= top != best
            best = top
    return best, trials


def _without_repeats(top: NDArray[Any], matrix: Any, users: NDArray[Any]) -> NDArray[Any]:
    """Returns ``top`` without repeated works and works that the user took, with which implicit fills short
    lists."""
    cleaned = np.full_like(top, -1)
    for row, (ids, user) in enumerate(zip(top, users, strict=True)):
        unique_ids, positions = np.unique(ids, return_index=True)
        places = positions[(unique_ids >= 0) & ~np.isin(unique_ids, matrix[user].indices)]
        cleaned[row, : len(places)] = ids[np.sort(places)]
    return cleaned


def _popular(matrix: Any, users: NDArray[Any], k: int) -> NDArray[Any]:
    popularity = np.asarray(matrix.sum(axis=0), np.float32).ravel()
    return _top_of_rows(matrix[users], lambda rows: np.broadcast_to(popularity, rows.shape), k)


def _top_of_rows(matrix: Any, score: Callable[[Any], NDArray[Any]], k: int) -> NDArray[Any]:
    """Returns (U, k) columns of the largest scores of each row of ``matrix``, without the row's own ones."""
    parts = []
    for begin in range(0, matrix.shape[0], BATCH):
        rows = matrix[begin : begin + BATCH]
        width = int(np.diff(rows.indptr).max(initial=0))
        known_works = np.full((rows.shape[0], width), -1, np.int64)
        known_works[np.arange(width) < np.diff(rows.indptr)[:, None]] = rows.indices
        parts.append(top_columns(score(rows), known_works, k))
    return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class _ItemRegressions:
    """EASE^R as a model of implicit. ``weights``: scipy CSR (works, works)."""

    weights: Any

    def recommend(
        self, _: NDArray[Any], rows: Any, *, N: int, filter_already_liked_items: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (U, N) works, −1 for none, and scores 0: ``top_of_peer`` reads only their order."""
        assert filter_already_liked_items  # the only case
        top = _top_of_rows(rows, lambda batch: (batch @ self.weights).toarray(), N)
        return top, np.zeros(top.shape, np.float32)


def _fit_ease(matrix: Any, settings: Settings, _: int) -> Any:
    return _ItemRegressions(sparse_regressions(matrix, settings["penalty"]))


def _fit_knn(matrix: Any, settings: Settings, _: int) -> Any:
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
    model = kinds[settings["weighting"]](K=settings["neighbours"], num_threads=1)
    with warnings.catch_warnings(action="ignore"):  # it warns about its own conversion of matrices
        model.fit(matrix, show_progress=False)
    return model


def _fit_als(matrix: Any, settings: Settings, seed: int) -> Any:
    from implicit.als import AlternatingLeastSquares

    with warnings.catch_warnings(action="ignore"):  # a warning about BLAS threads
        model = AlternatingLeastSquares(**settings, random_state=seed, num_threads=1)
    model.fit(matrix, show_progress=False)
    return model


def _fit_bpr(matrix: Any, settings: Settings, seed: int) -> Any:
    from implicit.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(**settings, random_state=seed, num_threads=1)
    model.fit(matrix, show_progress=False)
    return model


PEERS = (
    Peer("popularity", lambda *_: None, {}, {}),
    Peer(
        "item-kNN",
        _fit_knn,
        {"weighting": "cosine", "neighbours": 100},
        {"weighting": ("cosine", "tfidf", "bm25"), "neighbours": (20, 50, 100, 200, 500, 1000, 2000)},
    ),
    Peer("EASE^R", _fit_ease, {"penalty": 100.0}, {"penalty": (10.0, 30.0, 100.0, 300.0, 1000.0)}),
    Peer(
        "ALS",
        _fit_als,
        {"factors": 256, "regularization": 100.0, "alpha": 40.0, "iterations": 15},
        {
            "factors": (32, 64, 128, 256, 512),
            "regularization": (0.01, 1.0, 10.0, 30.0, 100.0, 200.0),
            "alpha": (1.0, 5.0, 20.0, 40.0, 100.0),
            "iterations": (15, 30),
        },
    ),
    Peer(
        "BPR",
        _fit_bpr,
        {"factors": 64, "regularization": 0.01, "learning_rate": 0.05, "iterations": 100},
        {
            "factors": (32, 64, 128),
            "regularization": (0.001, 0.01, 0.05),
            "learning_rate": (0.02, 0.05, 0.1),
            "iterations": (100, 200),
        },
    ),
)
