"""Measures of diversity of one list, and of the exposure from many lists.

f are unit vectors (a zero vector stays zero); L = F Fᵀ + ridge·I of the list.

log det              log det L, larger is more diverse (Kulesza & Taskar 2012); at most k·log(1 + ridge) for k
                     unit vectors
intra-list distance  ILD = mean over pairs of 1 − cos(f_i, f_j)          0 = all equal, 1 = unrelated
near duplicates      fraction of pairs with cosine > 0.95
Gini                 of exposure over items or creators: 0 = equal, 1 = one has all
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_DUPLICATE = 0.95
RIDGE = 1e-2
WINDOW = 10


def unit_rows(embeddings: NDArray[Any]) -> NDArray[Any]:
    """Returns ``embeddings (k, D)`` scaled to length 1, float64; a zero vector stays zero."""
    f = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(f, axis=1, keepdims=True)
    return np.asarray(np.divide(f, norms, out=np.zeros_like(f), where=norms > 0))


def pairwise_cosines(embeddings: NDArray[Any]) -> NDArray[Any]:
    """Returns the k·(k−1)/2 cosines of pairs of ``embeddings (k, D)``, float64; 0 for a zero vector."""
    f = unit_rows(embeddings)
    upper = np.triu_indices(len(f), k=1)
    return np.asarray((f @ f.T)[upper])


def log_det(embeddings: NDArray[Any]) -> float:
    """Returns log det (F Fᵀ + RIDGE·I) of ``embeddings (k, D)``; 0 for an empty list. O(k²·D + k³)."""
    f = unit_rows(embeddings)
    return float(np.linalg.slogdet(f @ f.T + RIDGE * np.eye(len(f)))[1])


def intra_list_distance(embeddings: NDArray[Any]) -> float:
    """Returns the ILD of ``embeddings (k, D)``; 0 for fewer than two. O(k²·D)."""
    cosines = pairwise_cosines(embeddings)
    return float(np.mean(1.0 - cosines)) if len(cosines) else 0.0


def windowed_distance(embeddings: NDArray[Any], window: int = WINDOW) -> float:
    """Returns the mean ILD over all runs of ``window`` neighbors, or the ILD of a shorter list."""
    n = max(len(embeddings) - window + 1, 1)
    return float(np.mean([intra_list_distance(embeddings[first : first + window]) for first in range(n)]))


def near_duplicate_share(embeddings: NDArray[Any]) -> float:
    """Returns the fraction of pairs with cosine above 0.95; 0 for fewer than two. O(k²·D)."""
    cosines = pairwise_cosines(embeddings)
    return float(np.mean(cosines > NEAR_DUPLICATE)) if len(cosines) else 0.0


def gini(counts: NDArray[Any]) -> float:
    """Returns the Gini coefficient Σ_i (2i − N − 1)·x_(i) / (N·Σx), x ascending; 0 if all counts are 0."""
    x = np.sort(np.asarray(counts, np.float64))
    total = x.sum()
    if not len(x) or total == 0:
        return 0.0
    i = np.arange(1, len(x) + 1)
    return float(((2 * i - len(x) - 1) * x).sum() / (len(x) * total))


def exposure_gini(shown: NDArray[Any], available: NDArray[Any]) -> float:
    """Returns the Gini coefficient of how often each value of ``available`` is in ``shown``."""
    values = np.unique(available)
    return gini(np.bincount(np.searchsorted(values, shown), minlength=len(values)))
