"""Baselines of retrieval: popularity, EASE^R, ALS, BPR and LightGCN, each at the best settings of its grid.

A baseline is fitted on the matrix (users, works) of ones, and returns each user's best works that the user
has not taken. ALS and BPR are those of the package implicit. EASE^R is the sparse variant of
``karec.evaluate.simple_methods``, in which each item is regressed on its most similar items.

Sources  Y. Hu et al., Collaborative filtering for implicit feedback datasets, ICDM 2008 (ALS); S. Rendle et
         al., BPR, UAI 2009; H. Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019 (EASE^R).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.retrieval import top_columns
from karec.evaluate.simple_methods import sparse_regressions
from karec.lab.studies.light_gcn import fit_light_gcn

Settings = dict[str, Any]
MIN_SCORE = -1e30  # implicit pads short results with lower scores
BATCH = 512  # users whose scores are in memory at once


@dataclass(frozen=True)
class Peer:
    """A baseline.

    fit    ``fit(matrix, settings, seed)`` returns a model of implicit, or one with the same ``recommend``
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
    ids, scores = model.recommend(users, matrix[users], N=k, filter_already_liked_items=True)
    ids = np.where(np.isfinite(scores) & (scores > MIN_SCORE) & (ids >= 0), ids, -1)
    return _without_repeats(ids, matrix, users)


def choose(
    peer: Peer, score: Callable[[Settings], float], minutes: float = math.inf
) -> tuple[Settings, list[tuple[Settings, float]]]:
    """Returns (settings of the best ``score``, all trials: settings with their score).

    Coordinate search: one setting at a time over its grid, until a round over all settings changes none. No
    trial begins after ``minutes``. Without a grid or time, the settings are those of the start.
    """
    best, until = dict(peer.start), time.monotonic() + 60 * minutes
    if not peer.grid or minutes <= 0:
        return best, []
    trials = [(best, score(best))]
    has_changed = True
    while has_changed:
        has_changed = False
        for name, values in peer.grid.items():
            for value in values:
                settings = {**best, name: value}
                if time.monotonic() < until and not any(settings == trial for trial, _ in trials):
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


def padded_rows(rows: Any) -> NDArray[np.int64]:
    """Returns (U, H): the columns of the entries of each row of ``rows`` (scipy CSR), padded with −1."""
    count = np.diff(rows.indptr)
    columns = np.full((rows.shape[0], int(count.max(initial=0))), -1, np.int64)
    columns[np.arange(columns.shape[1]) < count[:, None]] = rows.indices
    return columns


@dataclass(frozen=True, eq=False)
class _Scores:
    """``score(users, rows)``, (U, works) for user rows and their choices, as a model of implicit."""

    score: Callable[[NDArray[Any], Any], NDArray[Any]]

    def recommend(
        self, users: NDArray[Any], rows: Any, *, N: int, filter_already_liked_items: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (U, N) works, −1 for none, and scores 0: ``top_of_peer`` reads only their order."""
        assert filter_already_liked_items  # the only case
        parts = [slice(begin, begin + BATCH) for begin in range(0, len(users), BATCH)]
        top = [top_columns(self.score(users[part], rows[part]), padded_rows(rows[part]), N) for part in parts]
        return np.concatenate(top), np.zeros((len(users), N), np.float32)


def _fit_popularity(matrix: Any, settings: Settings, seed: int) -> Any:
    popularity = np.asarray(matrix.sum(axis=0), np.float32).ravel()
    return _Scores(lambda users, _: np.broadcast_to(popularity, (len(users), len(popularity))))


def _fit_ease(matrix: Any, settings: Settings, seed: int) -> Any:
    weights = sparse_regressions(matrix, settings["penalty"])
    return _Scores(lambda _, rows: (rows @ weights).toarray())


def _fit_light_gcn(matrix: Any, settings: Settings, seed: int) -> Any:
    user_vectors, item_vectors = fit_light_gcn(matrix, settings, seed)
    return _Scores(lambda users, _: user_vectors[users] @ item_vectors.T)


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
    Peer("popularity", _fit_popularity, {}, {}),
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
    Peer(
        "LightGCN",
        _fit_light_gcn,
        {"factors": 64, "penalty": 1e-4, "learning_rate": 1e-2, "epochs": 10},
        {"penalty": (1e-5, 1e-4, 1e-3), "learning_rate": (3e-3, 1e-2, 3e-2)},
    ),
)
