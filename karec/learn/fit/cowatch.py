"""Co-watch vectors and ALS factors: items that the same users watched have similar vectors.

    A_ui = B_ui / √(Σ_i B_ui · Σ_u B_ui)    B (users × items): 1 if user u enjoyed item i, else 0
    A ≈ U Σ Vᵀ of rank D; the vector of item i is V_i, scaled to length 1

ALS factorises B (``karec.evaluate.als``), with settings of ``karec.learn.fit.als``, and
G = (Yᵀ·Y + penalty·I) / weight for item factors Y.

The vectors are fitted at several moments, each from the events before it (``karec.features.cowatch``). One
setting of ALS serves all moments.

Cost     O(P·D) per pass over the P entries of B, a few passes a moment; memory O(P + (users + items)·D).
Source   B. Sarwar et al., Application of dimensionality reduction in recommender systems, 2000 (the idea); N.
         Halko et al., Finding structure with randomness, SIAM Review 53 (2011) (the decomposition).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.evaluate.als import factorize
from karec.features.cowatch import ALWAYS_MS, AlsFactors, CowatchVectors
from karec.features.vocabulary import Vocabulary, encode_known
from karec.learn._torch import torch
from karec.learn.fit.als import AlsSetting, als_rank, choose_als, enjoyed_pairs

MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # fractions of the training days
MAX_DIMENSIONS, MIN_DIMENSIONS = 64, 8
ITEMS_PER_DIMENSION = 50  # with 800 items, 16 dimensions order held-out purchases better than 32 or 64
OVERSAMPLED, ITERATIONS = 16, 6


def fit_cowatch(dataset: Dataset, seed: int = 0) -> CowatchVectors | None:
    """Returns vectors of items with MIN_WATCHERS watchers, or None for at most MIN_DIMENSIONS such items.

    The newest moment is the end of the training days.
    """
    users, items, time_ms = _enjoyed_items(dataset)
    start_ms, until_ms = dataset.snapshot.time_ms, dataset.train_until_ms
    moments = np.unique([start_ms + round(part * (until_ms - start_ms)) for part in MOMENTS])
    is_past = time_ms < moments[-1]
    n_items = len(enjoyed_pairs(users[is_past], items[is_past]).items)
    setting = choose_als(users[is_past], items[is_past], time_ms[is_past], _rank(n_items), seed)
    fits = [
        _fit_moment(users[time_ms < moment], items[time_ms < moment], setting, seed) for moment in moments
    ]
    newest = fits[-1]
    if newest is None:
        return None
    works = Vocabulary(newest.ids)
    fits = [newest, *fits[:-1]]
    vectors, als = (
        np.zeros((len(fits), len(works) + 1, part.shape[1]), np.float32)
        for part in (newest.vectors, newest.factors)
    )
    grams = np.tile(np.eye(als.shape[2]), (len(fits), 1, 1))
    for moment, fit in enumerate(fits):
        if fit is not None:
            rows, n = encode_known(works, fit.ids), fit.factors.shape[1]
            vectors[moment, rows, : fit.vectors.shape[1]], als[moment, rows, :n] = fit.vectors, fit.factors
            gram = fit.factors.T @ fit.factors + setting.penalty * np.eye(n)
            grams[moment, :n, :n] = gram / setting.weight
    return CowatchVectors(works, vectors[0], vectors[1:], moments, AlsFactors(als, grams))


def _enjoyed_items(dataset: Dataset) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns (P,) rows of users, ids of items and times of what users enjoyed, ALWAYS_MS in histories."""
    snapshot, exposures = dataset.snapshot, dataset.exposures
    enjoyed = exposures.take(snapshot.meaning.is_enjoyed(exposures.labels))
    users, items, time_ms = snapshot.users.lookup(enjoyed.user_id), enjoyed.work_id, enjoyed.time_ms
    history = snapshot.relations.get("history")
    if history is not None:
        users = np.concatenate([np.repeat(np.arange(len(history)), np.diff(history.indptr)), users])
        items = np.concatenate([np.asarray(history.values), items])
        time_ms = np.concatenate([np.full(len(history.values), ALWAYS_MS), time_ms])
    is_known = (users >= 0) & (items >= 0)
    return users[is_known], items[is_known], time_ms[is_known]


@dataclass(frozen=True, eq=False)
class _Fit:
    """K items with MIN_WATCHERS watchers: ids (K,), vectors of length 1 (K, D) and ALS factors (K, F)."""

    ids: NDArray[Any]
    vectors: NDArray[np.float32]
    factors: NDArray[np.float32]


def _fit_moment(users: NDArray[Any], items: NDArray[Any], setting: AlsSetting, seed: int) -> _Fit | None:
    enjoyed = enjoyed_pairs(users, items)
    if len(enjoyed.items) <= MIN_DIMENSIONS:
        return None
    user, item = enjoyed.pairs.tocoo().coords
    _, v = decompose_pairs(user, item, enjoyed.pairs.shape, _rank(len(enjoyed.items)), seed)
    _, factors = factorize(
        enjoyed.pairs, als_rank(v.shape[1], setting), setting.weight, setting.penalty, seed=seed
    )
    unit = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
    return _Fit(enjoyed.items, unit, factors)


def _rank(n_items: int) -> int:
    return int(np.clip(n_items // ITEMS_PER_DIMENSION, MIN_DIMENSIONS, MAX_DIMENSIONS))


def decompose_pairs(
    user: NDArray[np.int64], item: NDArray[np.int64], shape: tuple[int, int], rank: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the largest singular values (K,) of A and its vectors V (items, K), K at most ``rank``.

    ``user (P,)``, ``item (P,)``: the entries of B, each pair once, below ``shape`` (users, items).
    """
    weight = 1.0 / np.sqrt(np.bincount(user)[user] * np.bincount(item)[item])
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([user, item])),
        torch.from_numpy(weight.astype(np.float32)),
        shape,
        check_invariants=True,
    ).coalesce()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, values, v = torch.svd_lowrank(matrix, q=min(rank + OVERSAMPLED, *shape), niter=ITERATIONS)
    return values[:rank].numpy(), v[:, :rank].numpy()
