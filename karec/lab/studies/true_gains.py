"""NDCG of orders by true gains, which only a world has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ndcg_of_gains(scores: NDArray[Any], gains: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns (U,) NDCG@k of the order of ``scores (U, N)`` by ``gains (U, N)`` ≥ 0."""
    k = min(k, scores.shape[1])
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    chosen, best = np.take_along_axis(gains, order, axis=1), -np.sort(-gains, axis=1)[:, :k]
    return np.asarray((chosen @ discount) / (best @ discount))
