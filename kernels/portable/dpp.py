"""Greedy DPP over embeddings in Numba: the definition in ``native/include/karec/dpp.hpp``, eagerly and in
float64.

O(N·k·D + k³), with a window O(N·k·window·D). The C++ library compares gains in float32: where two of them are
closer than that can tell (1e-6·q²), the two may take another item first. Sums run in a fixed order, without
fast-math or BLAS.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from karec.kernels.option_values import positive
from karec.kernels.portable.arrays import Float64, Int64, check_indptr, indptr_input
from karec.kernels.portable.dpp_problem import LEAST_SHARE, DppProblem, log_qualities, unit
from karec.kernels.portable.facet_offsets import facet_offsets

NO_TYPES = np.zeros(0, np.int64)


def dpp_select(
    embeddings: ArrayLike, relevance: ArrayLike, k: int, **options: Any
) -> tuple[Int64, Float64, float, int]:
    """``karec._native.dpp_select``: (indices, gains, log_det, n_dpp); options as ``DppOptions`` has them."""
    positive("k", k)
    return selected(DppProblem.of(embeddings, relevance, **options), k)


def dpp_select_batch(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    indptr: ArrayLike,
    shown_indptr: ArrayLike | None,
    k: int,
    **options: Any,
) -> tuple[Int64, Float64, Float64, Int64]:
    """``karec._native.dpp_select_batch``: (indices, gains, log_dets, n_dpp), −1 and 0 where a user has
    fewer."""
    positive("k", k)
    problem = DppProblem.of(embeddings, relevance, **options)
    starts = indptr_input(indptr, "indptr", ("B + 1",))
    if not len(starts):
        raise ValueError("indptr has shape (0,), expected (B + 1,)")
    n_users = len(starts) - 1
    shown_starts = (
        None if shown_indptr is None else indptr_input(shown_indptr, "shown_indptr", (n_users + 1,))
    )
    check_indptr("indptr", starts, len(problem.embeddings))
    if shown_starts is None and len(problem.shown):
        raise ValueError(f"shown_indptr has shape (0,), expected ({n_users + 1},)")
    if shown_starts is not None:
        check_indptr("shown_indptr", shown_starts, len(problem.shown))
    width = min(k, int(np.diff(starts).max(initial=0)))
    indices, gains = np.full((n_users, width), -1, np.int64), np.zeros((n_users, width))
    log_dets, n_dpp = np.zeros(n_users), np.zeros(n_users, np.int64)
    for user, (first, end) in enumerate(pairwise(starts)):
        seen = slice(0, 0) if shown_starts is None else slice(shown_starts[user], shown_starts[user + 1])
        try:
            picks, own_gains, log_dets[user], n_dpp[user] = selected(problem.part(slice(first, end), seen), k)
        except ValueError as error:
            raise ValueError(f"user {user}: {error}") from None
        indices[user, : len(picks)], gains[user, : len(picks)] = picks + first, own_gains
    return indices, gains, log_dets, n_dpp


def selected(problem: DppProblem, k: int) -> tuple[Int64, Float64, float, int]:
    """Checks the problem, and selects from it."""
    problem.check()
    f, seen = unit(problem.embeddings), unit(problem.shown)
    facets, facet_weights = problem.counted_facets()
    of_vectors = max(0.0, 1 - facet_weights.sum())
    r = problem.relevance.astype(np.float64)
    w = np.ones(len(r)) if problem.weights is None else problem.weights.astype(np.float64)
    codes = (
        NO_TYPES
        if problem.types is None
        else np.unique(problem.types, return_inverse=True)[1].astype(np.int64)
    )
    log_q = log_qualities(r, problem.alpha, w)
    both = np.concatenate([seen, f])
    first = np.where(both.any(axis=1), of_vectors, 0.0) + facet_weights @ (facets >= 0) + problem.ridge
    k = min(k, len(r))
    quota = k if problem.max_per_type is None else problem.max_per_type
    owed = np.minimum(np.bincount(codes, minlength=1), problem.min_per_type)
    window = k if problem.window is None else min(problem.window, k)
    q2 = np.exp(log_q) ** 2
    scaled = both * np.sqrt(of_vectors)
    picks, rho = _greedy(scaled, len(seen), q2, first, codes, facets, facet_weights, k, window, quota, owed)
    log_det = float((2 * log_q[picks] + np.log(rho)).sum())
    gains = np.exp(2 * log_q[picks]) * rho
    filled = _fill(picks, log_q, r, codes, k, quota, owed) if problem.fill else picks
    return filled, np.append(gains, np.zeros(len(filled) - len(picks))), log_det, len(picks)


def _fill(
    picks: Int64, log_q: Float64, relevance: Float64, codes: Int64, k: int, quota: int, owed: Int64
) -> Int64:
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
def _inner(a: Any, b: Any) -> float:
    total = 0.0
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True)
def _direction(
    rows: Any,
    facets: Any,
    weights: Any,
    first_rho: float,
    counted: Any,
    vectors: Any,
    parts_of: Any,
    known: int,
) -> float:
    """Writes the direction of row counted[known], given those of rows counted[: known], and returns its ρ.

    u = (φ − Σ_s u_s⟨u_s, φ⟩)/√ρ, φ the row's vector and √w_f at its value of each facet. Beside the vectors'
    part of u, (known + 1, D), stand the shares (known + 1, known + 1) of the counted rows' φ in it: u's
    coordinate of a value is √w_f times the sum of the shares of the rows that have it.
    """
    row = counted[known]
    alike = np.zeros(known)
    for s in range(known):
        for f in range(len(weights)):
            if facets[f, row] >= 0 and facets[f, row] == facets[f, counted[s]]:
                alike[s] += weights[f]
    u, share = vectors[known], parts_of[known]
    u[:] = rows[row]
    share[:] = 0.0
    share[known] = 1.0
    rho = first_rho
    for s in range(known):
        part = _inner(vectors[s], rows[row]) + _inner(parts_of[s, : s + 1], alike[: s + 1])
        u -= part * vectors[s]
        share[: s + 1] -= part * parts_of[s, : s + 1]
        rho -= part * part
    root = np.sqrt(rho)
    u /= root
    share /= root
    return rho


@njit(cache=True, nogil=True)
def _explain(
    rows: Any,
    n_shown: int,
    facets: Any,
    weights: Any,
    counted: Any,
    u: Any,
    share: Any,
    n_values: int,
    rho: Any,
) -> None:
    """ρ_i of each item falls by ⟨φ_i, u⟩²."""
    dim = rows.shape[1]
    offsets = facet_offsets(facets, weights, counted, share, n_values)
    for i in range(len(rho)):
        dot = 0.0
        for f in range(len(weights)):
            dot += offsets[f, facets[f, n_shown + i]]
        for d in range(dim):
            dot += rows[n_shown + i, d] * u[d]
        rho[i] -= dot * dot


@njit(cache=True, nogil=True)
def _greedy(
    rows: Any,
    n_shown: int,
    q2: Any,
    first: Any,
    codes: Any,
    facets: Any,
    weights: Any,
    k: int,
    window: int,
    quota: int,
    owed: Any,
) -> Any:
    n, dim = len(q2), rows.shape[1]
    n_codes = codes.max() + 1 if len(codes) else 0
    n_values = facets.max() + 1 if facets.size else 0
    counted = np.zeros(n_shown + k, np.int64)  # rows that explain something, what was shown first
    vectors, parts_of = np.zeros((n_shown + k, dim)), np.zeros((n_shown + k, n_shown + k))
    known = 0
    base = first[n_shown:].copy()
    for row in range(n_shown):
        counted[known] = row
        rho = _direction(rows, facets, weights, first[row], counted, vectors, parts_of, known)
        if rho > LEAST_SHARE * first[row]:
            known += 1
            share = parts_of[known - 1, :known]
            _explain(rows, n_shown, facets, weights, counted, vectors[known - 1], share, n_values, base)
    n_seen = known
    rho_of = base.copy()
    picks = np.empty(k, np.int64)
    rhos = np.empty(k)
    remaining = q2.copy()
    count = np.zeros(n_codes, np.int64)
    for t in range(k):
        newest = max(t - 1, 0)
        if window < k:
            known, rho_of, newest = n_seen, base.copy(), max(t - window + 1, 0)
        for pick in picks[newest:t]:
            counted[known] = n_shown + pick
            _direction(rows, facets, weights, first[n_shown + pick], counted, vectors, parts_of, known)
            known += 1
            share = parts_of[known - 1, :known]
            _explain(rows, n_shown, facets, weights, counted, vectors[known - 1], share, n_values, rho_of)
        missing = np.maximum(owed[: len(count)] - count, 0)
        if missing.sum() > 0 and missing.sum() >= k - t:
            remaining[missing[codes] == 0] = 0.0
        best, best_gain = -1, 0.0
        for i in range(n):
            gain = remaining[i] * rho_of[i]
            if gain > best_gain and rho_of[i] > LEAST_SHARE * first[n_shown + i]:
                best, best_gain = i, gain
        if best < 0:
            return picks[:t], rhos[:t]
        picks[t], rhos[t], remaining[best] = best, rho_of[best], 0.0
        if len(codes):
            count[codes[best]] += 1
            if count[codes[best]] >= quota:
                remaining[codes == codes[best]] = 0.0
    return picks, rhos
