"""Greedy DPP over embeddings in Numba: the definition in ``native/include/karec/dpp.hpp``, eagerly and in float64.

O(N·k·D), with a window O(N·k·window·D). The C++ library compares gains in float32: where two of them are closer than
that can tell (1e-6·q²), the two may take another item first. Sums run in a fixed order, without fast-math or BLAS.
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
    """``karec._native.dpp_select_batch``: (indices, gains, log_dets, n_dpp), −1 and 0 where a user has fewer."""
    positive("k", k)
    problem = DppProblem.of(embeddings, relevance, **options)
    starts = indptr_input(indptr, "indptr", ("B + 1",))
    if not len(starts):
        raise ValueError("indptr has shape (0,), expected (B + 1,)")
    n_users = len(starts) - 1
    shown_starts = None if shown_indptr is None else indptr_input(shown_indptr, "shown_indptr", (n_users + 1,))
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
    type_weight, ridge = problem.type_weight, problem.ridge
    f = unit(problem.embeddings)
    r = problem.relevance.astype(np.float64)
    w = np.ones(len(r)) if problem.weights is None else problem.weights.astype(np.float64)
    codes = NO_TYPES if problem.types is None else np.unique(problem.types, return_inverse=True)[1].astype(np.int64)
    log_q = log_qualities(r, problem.alpha, w)
    first = np.where(f.any(axis=1), 1 - type_weight, 0.0) + type_weight + ridge
    k = min(k, len(r))
    quota = k if problem.max_per_type is None else problem.max_per_type
    owed = np.minimum(np.bincount(codes, minlength=1), problem.min_per_type)
    picks, rho = _greedy(
        f * np.sqrt(1 - type_weight),
        np.exp(log_q) ** 2,
        first,
        codes,
        float(type_weight),
        unit(problem.shown) * np.sqrt(1 - type_weight),
        ridge,
        k,
        k if problem.window is None else min(problem.window, k),
        quota,
        owed,
    )
    log_det = float((2 * log_q[picks] + np.log(rho)).sum())
    gains = np.exp(2 * log_q[picks]) * rho
    filled = _fill(picks, log_q, r, codes, k, quota, owed) if problem.fill else picks
    return filled, np.append(gains, np.zeros(len(filled) - len(picks))), log_det, len(picks)


def _fill(picks: Int64, log_q: Float64, relevance: Float64, codes: Int64, k: int, quota: int, owed: Int64) -> Int64:
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
def _direction(h: Any, earlier: Any, most: float) -> Any:
    """u = (h − Σ u_s⟨u_s, h⟩)/√ρ and ρ = most − Σ⟨u_s, h⟩², given the directions u_s of earlier picks."""
    u = h.copy()
    rho = most
    for s in range(len(earlier)):
        part = _inner(earlier[s], h)
        u -= part * earlier[s]
        rho -= part * part
    return u / np.sqrt(rho), rho


@njit(cache=True, nogil=True)
def _explain(f: Any, codes: Any, offsets: Any, direction: Any, rho: Any) -> None:
    """ρ_i falls by (⟨feature_i, direction⟩ + offset of i's type)²."""
    n, dim = f.shape
    for i in range(n):
        dot = offsets[codes[i]] if len(offsets) else 0.0
        for d in range(dim):
            dot += f[i, d] * direction[d]
        rho[i] -= dot * dot


@njit(cache=True, nogil=True)
def _pick(
    feature: Any,
    first_rho: float,
    own_type: int,
    type_weight: float,
    ridge: float,
    n_picks: Any,
    sums: Any,
    picked_types: Any,
    n_types: int,
    earlier: Any,
    offsets: Any,
) -> Any:
    """The direction of a pick, given earlier ones, and the number of picked types with its own, whose offsets it fills.

    What picks explain by their types: native/src/diversity/type_effects.hpp. own_type −1: types do not count.
    """
    h, most, own = feature, first_rho, type_weight
    if own_type >= 0 and n_picks[own_type] > 0:
        factor = type_weight / (type_weight * n_picks[own_type] + ridge)
        h = feature - factor * sums[own_type]
        own = factor * ridge
        most = ridge + own + _inner(h, h)
    u, rho = _direction(h, earlier, most)
    if own_type < 0:
        return u, n_types
    for t in range(n_types):
        of = picked_types[t]
        offsets[of] = -type_weight / (type_weight * n_picks[of] + ridge) * _inner(sums[of], u)
    if n_picks[own_type] == 0:
        picked_types[n_types] = own_type
        n_types += 1
        offsets[own_type] = 0.0
    offsets[own_type] += own / np.sqrt(rho)
    n_picks[own_type] += 1
    sums[own_type] += feature
    return u, n_types


@njit(cache=True, nogil=True)
def _greedy(
    f: Any,
    q2: Any,
    first: Any,
    codes: Any,
    type_weight: float,
    shown: Any,
    ridge: float,
    k: int,
    window: int,
    quota: int,
    owed: Any,
) -> Any:
    n, dim = f.shape
    n_codes = codes.max() + 1 if len(codes) else 0
    counted = n_codes if type_weight > 0.0 else 0  # types of which picks explain something
    directions = np.zeros((len(shown) + k, dim))
    offsets, n_picks, sums = np.zeros(counted), np.zeros(counted, np.int64), np.zeros((counted, dim))
    picked_types, n_types = np.zeros(k, np.int64), 0
    known = 0
    base = first.copy()
    for row in range(len(shown)):
        own = _inner(shown[row], shown[row]) + ridge
        u, rho = _direction(shown[row], directions[:known], own)
        if rho > LEAST_SHARE * own:
            directions[known] = u
            _explain(f, codes, offsets, u, base)
            known += 1
    n_shown = known
    rho_of = base.copy()
    picks = np.empty(k, np.int64)
    rhos = np.empty(k)
    remaining = q2.copy()
    count = np.zeros(n_codes, np.int64)
    for t in range(k):
        newest = max(t - 1, 0)
        if window < k:
            known, rho_of, newest = n_shown, base.copy(), max(t - window + 1, 0)
            for at in range(n_types):
                of = picked_types[at]
                offsets[of], n_picks[of], sums[of] = 0.0, 0, 0.0
            n_types = 0
        for pick in picks[newest:t]:
            own_type = codes[pick] if counted else -1
            directions[known], n_types = _pick(
                f[pick],
                first[pick],
                own_type,
                type_weight,
                ridge,
                n_picks,
                sums,
                picked_types,
                n_types,
                directions[:known],
                offsets,
            )
            _explain(f, codes, offsets, directions[known], rho_of)
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
