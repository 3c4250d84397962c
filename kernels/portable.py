"""Scoring and DPP in Numba, for machines where the C++ extension is absent; also its twin in the conformance tests.

Scores are the same bits as the C++ library's: 16 partial sums over dimensions d ≡ j (mod 16), then a fixed tree
(``native/src/isa/inner_loops.hpp``), no fast-math. The DPP follows the definition in ``native/include/karec/dpp.hpp``
eagerly in float64: O(N·k·D), with a window O(N·k·window·D). Functions compile at their first call (seconds) and are
cached on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from karec.kernels.explicit import LEAST_SHARE, dpp_select_kernel, dpp_select_similarity, finite

__all__ = ["dpp_select", "dpp_select_kernel", "dpp_select_similarity", "scores", "search"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int = NDArray[np.int64]

NO_TYPES = np.zeros(0, np.int64)


def scores(vectors: ArrayLike, query: ArrayLike, rows: ArrayLike) -> Float32:
    """(N,) ⟨query, vectors[row]⟩ for each of ``rows`` (N,) int; −inf for row −1. ``vectors`` is float16 or float32."""
    table = np.asarray(vectors)
    index = np.asarray(rows, np.int64)
    q = finite("query", np.asarray(query, np.float32))
    if q.shape != table.shape[1:]:
        raise ValueError(f"query has shape {q.shape}, expected {table.shape[1:]}")
    outside = np.flatnonzero((index < -1) | (index >= len(table)))
    if len(outside):
        raise ValueError(f"rows holds {index[outside[0]]} at position {outside[0]}, expected -1 to {len(table) - 1}")
    out = np.full(len(index), -np.inf, np.float32)
    known = index >= 0
    out[known] = _dot(np.ascontiguousarray(table[index[known]], np.float32), q)
    return out


def search(vectors: ArrayLike, query: ArrayLike, rows: ArrayLike, k: int) -> tuple[Float32, Int]:
    """(scores, positions) of the ``k`` best of ``rows``, ties by lowest position; row −1 is skipped."""
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}")
    found = scores(vectors, query, rows)
    known = np.flatnonzero(np.asarray(rows) >= 0)
    best = known[np.argsort(-found[known], kind="stable")[:k]]
    return found[best], best


def dpp_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = 0.5,
    alpha: float | None = None,
    ridge: float = 1e-2,
    weights: ArrayLike | None = None,
    types: ArrayLike | None = None,
    type_weight: float = 0.0,
    window: int | None = None,
    shown: ArrayLike | None = None,
    max_per_type: int | None = None,
    min_per_type: int = 0,
    fill: str | None = "relevance",
) -> tuple[Int, Float64, float, int]:
    """``karec.dpp_select``: (indices, gains, log_det, n_dpp)."""
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}")
    f = _unit(finite("embeddings", np.asarray(embeddings))) * np.sqrt(1 - type_weight)
    r = _column("relevance", relevance, f.shape)
    w = np.ones(len(r)) if weights is None else _column("weights", weights, f.shape)
    codes = NO_TYPES if types is None else np.unique(np.asarray(types), return_inverse=True)[1].astype(np.int64)
    if types is None and (type_weight > 0 or max_per_type is not None or min_per_type > 0):
        raise ValueError("type_weight, max_per_type and min_per_type need types")
    seen = np.zeros((0, f.shape[1])) if shown is None else _unit(finite("shown", np.asarray(shown)))
    if alpha is None:
        alpha = np.inf if diversity == 0 else (1 - diversity) / (2 * diversity)
    below = r - r.max(initial=-np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.log(w) + np.where(below == 0, 0.0, alpha * below)
    first = np.where(f.any(axis=1), 1 - type_weight, 0.0) + type_weight + ridge
    k = min(k, len(r))
    quota = k if max_per_type is None else max_per_type
    owed = np.minimum(np.bincount(codes, minlength=1), min_per_type)
    picks, rho = _greedy(
        f,
        np.exp(log_q) ** 2,
        first,
        codes,
        np.sqrt(type_weight),
        seen * np.sqrt(1 - type_weight),
        ridge,
        k,
        k if window is None else window,
        quota,
        owed,
    )
    log_det = float((2 * log_q[picks] + np.log(rho)).sum())
    gains = np.exp(2 * log_q[picks]) * rho
    filled = _fill(picks, log_q, r, codes, k, quota, owed) if fill is not None else picks
    return filled, np.append(gains, np.zeros(len(filled) - len(picks))), log_det, len(picks)


def _column(name: str, values: ArrayLike, like: tuple[int, ...]) -> Float64:
    column = np.asarray(values, np.float64)
    if column.shape != like[:1]:
        raise ValueError(f"{name} has shape {column.shape}, expected {like[:1]} as embeddings has shape {like}")
    return finite(name, column)


def _unit(embeddings: NDArray[Any]) -> Float64:
    x = embeddings.astype(np.float64)
    norms = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return np.asarray(x / np.where(norms > 0, norms, 1))


def _fill(picks: Int, log_q: Float64, relevance: Float64, codes: Int, k: int, quota: int, owed: Int) -> Int:
    """``picks``, then the rest by q, then relevance, then index, within what each type may and must have."""
    count = np.bincount(codes[picks], minlength=len(owed)) if len(codes) else np.zeros(1, np.int64)
    taken = set(picks.tolist())
    filled = picks.tolist()
    for i in np.lexsort((-relevance, -log_q)):
        if len(filled) == k:
            break
        missing = np.maximum(owed - count, 0)
        forced = 0 < missing.sum() >= k - len(filled)
        if i in taken or (len(codes) and (count[codes[i]] >= quota or (forced and missing[codes[i]] == 0))):
            continue
        filled.append(int(i))
        if len(codes):
            count[codes[i]] += 1
    return np.array(filled, np.int64)


@njit(cache=True, nogil=True)
def _dot(vectors: Any, query: Any) -> Any:
    n, dim = vectors.shape
    out = np.empty(n, np.float32)
    sums = np.empty(16, np.float32)
    for i in range(n):
        sums[:] = np.float32(0)
        for d in range(dim):
            sums[d % 16] += vectors[i, d] * query[d]
        half = 8
        while half > 0:
            for j in range(half):
                sums[j] += sums[j + half]
            half //= 2
        out[i] = sums[0]
    return out


@njit(cache=True, nogil=True)
def _explain(f: Any, codes: Any, type_scale: float, direction: Any, rho: Any) -> None:
    """ρ_i falls by ⟨feature_i, direction⟩²; behind the embedding's part, the direction has one entry for each type."""
    n, dim = f.shape
    for i in range(n):
        dot = type_scale * direction[dim + codes[i]] if len(codes) else 0.0
        for d in range(dim):
            dot += f[i, d] * direction[d]
        rho[i] -= dot * dot


@njit(cache=True, nogil=True)
def _direction(feature: Any, earlier: Any, first: float) -> Any:
    """u = (f − Σ u_s⟨u_s, f⟩)/√ρ and ρ, given the directions u_s of earlier picks."""
    u = feature.copy()
    rho = first
    for s in range(len(earlier)):
        part = np.dot(earlier[s], feature)
        u -= part * earlier[s]
        rho -= part * part
    return u, rho


@njit(cache=True, nogil=True)
def _greedy(
    f: Any,
    q2: Any,
    first: Any,
    codes: Any,
    type_scale: float,
    shown: Any,
    ridge: float,
    k: int,
    window: int,
    quota: int,
    owed: Any,
) -> Any:
    n, dim = f.shape
    width = dim + (codes.max() + 1 if len(codes) else 0)
    directions = np.zeros((len(shown) + k, width))
    known = 0
    base = first.copy()
    feature = np.zeros(width)
    for row in range(len(shown)):
        feature[:dim] = shown[row]
        own = np.dot(feature, feature) + ridge
        u, rho = _direction(feature, directions[:known], own)
        if rho > LEAST_SHARE * own:
            directions[known] = u / np.sqrt(rho)
            _explain(f, codes, type_scale, directions[known], base)
            known += 1
    n_shown = known
    rho_of = base.copy()
    picks = np.empty(k, np.int64)
    rhos = np.empty(k)
    remaining = q2.copy()
    count = np.zeros(width - dim, np.int64)
    for t in range(k):
        newest = max(t - 1, 0)
        if window < k:
            known, rho_of, newest = n_shown, base.copy(), max(t - window + 1, 0)
        for pick in picks[newest:t]:
            feature[:] = 0.0
            feature[:dim] = f[pick]
            if len(codes):
                feature[dim + codes[pick]] = type_scale
            u, rho = _direction(feature, directions[:known], first[pick])
            directions[known] = u / np.sqrt(rho)
            _explain(f, codes, type_scale, directions[known], rho_of)
            known += 1
        missing = np.maximum(owed[: len(count)] - count, 0)
        if missing.sum() > 0 and missing.sum() >= k - t:
            remaining[missing[codes] == 0] = 0.0
        best, best_gain = -1, 0.0
        for i in range(n):
            gain = remaining[i] * rho_of[i]
            if gain > best_gain and rho_of[i] > LEAST_SHARE * first[i]:
                best, best_gain = i, gain
        if best < 0:
            return picks[:t], rhos[:t]
        picks[t], rhos[t], remaining[best] = best, rho_of[best], 0.0
        if len(codes):
            count[codes[best]] += 1
            if count[codes[best]] >= quota:
                remaining[codes == codes[best]] = 0.0
    return picks, rhos
