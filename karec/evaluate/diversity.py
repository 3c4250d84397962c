"""How diverse a list is, what that diversity cost in relevance, and the curve between the two.

intra-list distance  ILD = mean over pairs of 1 − cos(f_i, f_j)          0 = all alike, 1 = unrelated
near duplicates      share of pairs with cosine > 0.95
Gini                 of exposure over works or creators: 0 = equal, 1 = one takes all
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from karec.diversity import dpp_select, standardised
from karec.types import Array

NEAR_DUPLICATE = 0.95


def pairwise_cosines(embeddings: Array) -> Array:
    """``embeddings (k, D)`` → the k·(k−1)/2 cosines of its pairs, float64; a zero vector has cosine 0 with all."""
    f = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(f, axis=1, keepdims=True)
    f = np.divide(f, norms, out=np.zeros_like(f), where=norms > 0)
    upper = np.triu_indices(len(f), k=1)
    return np.asarray((f @ f.T)[upper])


def intra_list_distance(embeddings: Array) -> float:
    """ILD of ``embeddings (k, D)``; 0 for fewer than two. O(k²·D)."""
    cosines = pairwise_cosines(embeddings)
    return float(np.mean(1.0 - cosines)) if len(cosines) else 0.0


def near_duplicate_share(embeddings: Array) -> float:
    """Share of pairs with cosine above 0.95; 0 for fewer than two. O(k²·D)."""
    cosines = pairwise_cosines(embeddings)
    return float(np.mean(cosines > NEAR_DUPLICATE)) if len(cosines) else 0.0


def gini(counts: Array) -> float:
    """Gini coefficient of ``counts (N,) ≥ 0``: Σ_i (2i − N − 1)·x_(i) / (N·Σx), x ascending. 0 when all are zero."""
    x = np.sort(np.asarray(counts, np.float64))
    total = x.sum()
    if not len(x) or total == 0:
        return 0.0
    i = np.arange(1, len(x) + 1)
    return float(((2 * i - len(x) - 1) * x).sum() / (len(x) * total))


@dataclass(frozen=True)
class CurvePoint:
    """Means over requests at one ``diversity``: fused relevance of the list and its intra-list distance."""

    diversity: float
    relevance: float
    distance: float
    near_duplicates: float


def diversity_curve(
    pools: Sequence[tuple[Array, Array]],
    k: int,
    diversities: Sequence[float] = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
) -> list[CurvePoint]:
    """DPP over each pool ``(embeddings (N, D), relevance (N,))`` at each ``diversity``; 0 is plain top-k."""
    points = []
    for diversity in diversities:
        lists = [(e[picked], r[picked]) for e, r in pools for picked in [_pick(e, r, k, diversity)]]
        points.append(
            CurvePoint(
                diversity=diversity,
                relevance=float(np.mean([np.mean(r) for _, r in lists])),
                distance=float(np.mean([intra_list_distance(e) for e, _ in lists])),
                near_duplicates=float(np.mean([near_duplicate_share(e) for e, _ in lists])),
            )
        )
    return points


def _pick(embeddings: Array, relevance: Array, k: int, diversity: float) -> Array:
    if diversity == 0.0:
        return np.argsort(-relevance, kind="stable")[:k]
    return np.asarray(dpp_select(embeddings, standardised(relevance), k, diversity=diversity).indices)
