"""Measures of diversity of one list, and of the exposure from many lists.

intra-list distance  ILD = mean over pairs of 1 − cos(f_i, f_j); 0 = all equal, 1 = unrelated
Gini                 of exposure over items or creators: 0 = equal, 1 = one has all
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_rows(embeddings: NDArray[Any]) -> NDArray[Any]:
    """Returns ``embeddings (k, D)`` scaled to length 1, float64; a zero vector stays zero."""
    f = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(f, axis=1, keepdims=True)
    return np.asarray(np.divide(f, norms, out=np.zeros_like(f), where=norms > 0))


def intra_list_distance(embeddings: NDArray[Any]) -> float:
    """Returns the ILD of ``embeddings (k, D)``; 0 for fewer than two. O(k²·D)."""
    f = unit_rows(embeddings)
    cosines = (f @ f.T)[np.triu_indices(len(f), k=1)]
    return float(np.mean(1.0 - cosines)) if len(cosines) else 0.0


def gini(counts: NDArray[Any]) -> float:
    """Returns the Gini coefficient Σ_i (2i − N − 1)·x_(i) / (N·Σx), x ascending; 0 if all counts are 0."""
    x = np.sort(np.asarray(counts, np.float64))
    total = x.sum()
    if not len(x) or total == 0:
        return 0.0
    i = np.arange(1, len(x) + 1)
    return float(((2 * i - len(x) - 1) * x).sum() / (len(x) * total))
