"""The oracle: scoring, DPP, MMR, SSD and arranged lists, written like their definitions. Tests measure
against it.

The definition of the DPP stands in ``native/include/karec/dpp.hpp``. Never served: O(N·k³), memory O(N²).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_SHARE = 1e-6
LEAST_RESIDUAL = 1e-5


def scores(vectors: ArrayLike, query: ArrayLike, rows: ArrayLike) -> Float:
    """(N,) ⟨query, vectors[row]⟩ for each of ``rows``; −inf for row −1."""
    index = np.asarray(rows, np.int64)
    known = np.maximum(index, 0)
    products = np.asarray(vectors, np.float64)[known] @ np.asarray(query, np.float64)
    return np.where(index < 0, -np.inf, products)


def top_k(values: ArrayLike, k: int) -> Int:
    """Positions of the ``k`` largest values, largest first, ties by lowest position."""
    return np.argsort(-np.asarray(values, np.float64), kind="stable")[:k]


def unit(embeddings: ArrayLike) -> Float:
    """Rows scaled to unit length; a zero row stays zero."""
    x = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms > 0, norms, 1)


def log_qualities(relevance: ArrayLike, alpha: float, weights: ArrayLike | None) -> Float:
    """log q_i = log weights_i + α·(r_i − max r); with α = ∞ only the most relevant keep a q above 0."""
    r = np.asarray(relevance, np.float64)
    below = r - r.max(initial=-np.inf)
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.ones(len(r)) if weights is None else np.asarray(weights, np.float64))
    return log_weights + np.where(below == 0, 0.0, alpha * np.minimum(below, -np.finfo(float).tiny))


def similarity(embeddings: ArrayLike, facets: ArrayLike, weights: ArrayLike) -> Float:
    """S = (1 − Σ w_f)·F Fᵀ + Σ_f w_f·[facet_f(i) = facet_f(j)], of facets (F, N) and weights (F,)."""
    f, w = unit(embeddings), np.asarray(weights, np.float64)
    s = (1 - w.sum()) * (f @ f.T)
    for codes, weight in zip(np.asarray(facets, np.int64), w, strict=True):
        s += weight * (codes[:, None] == codes[None, :])
    return np.asarray(s)


def alpha_of(diversity: float) -> float:
    """α = (1 − diversity) / (2·diversity)."""
    return np.inf if diversity == 0 else (1 - diversity) / (2 * diversity)


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
    facets: ArrayLike | None = None,
    facet_weights: Sequence[float] = (),
    window: int | None = None,
    shown: ArrayLike | None = None,
    shown_facets: ArrayLike | None = None,
    max_per_type: int | None = None,
    min_per_type: int = 0,
    fill: str | None = "relevance",
) -> tuple[Int, Float, float, int]:
    """``karec.diversity.dpp_select`` from its definition: (indices, gains, log_det, n_dpp)."""
    n = len(np.asarray(relevance))
    log_q = log_qualities(relevance, alpha_of(diversity) if alpha is None else alpha, weights)
    q2 = np.exp(log_q) ** 2
    f = [] if facets is None else list(np.asarray(facets, np.int64))
    typed = (
        [(np.asarray(types, np.int64), type_weight, False)] if types is not None and type_weight > 0 else []
    )
    each = [
        *typed,
        *((codes, w, shown_facets is not None) for codes, w in zip(f, facet_weights, strict=True)),
    ]
    s, m = _with_shown(embeddings, each, shown, shown_facets)
    k_unit = s + ridge * np.eye(len(s))  # rows 0 … m − 1: what was shown; then the items
    first = np.diag(k_unit)[m:]
    seen = _independent(k_unit, m)
    codes = np.zeros(n, np.int64) if types is None else np.asarray(types)
    picks: list[int] = []
    gains: list[float] = []
    log_det = 0.0
    while len(picks) < min(k, n):
        near = _near(picks, None if window is None or window >= k else window)
        rho = _conditional(k_unit, [*seen, *(m + i for i in near)])[m:]
        allowed = ~np.isin(np.arange(n), picks) & (rho > LEAST_SHARE * first) & (q2 * rho > 0)
        allowed &= _within_quotas(codes, picks, max_per_type, min_per_type, min(k, n))
        if not allowed.any():
            break
        best = int(np.argmax(np.where(allowed, q2 * rho, -1.0)))
        picks.append(best)
        gains.append(float(q2[best] * rho[best]))
        log_det += float(2 * log_q[best] + np.log(rho[best]))
    n_dpp = len(picks)
    by_q = np.lexsort((-np.asarray(relevance, np.float64), -log_q))
    for i in by_q if fill is not None else ():
        if (
            len(picks) < min(k, n)
            and i not in picks
            and _within_quotas(codes, picks, max_per_type, min_per_type, min(k, n))[i]
        ):
            picks.append(int(i))
            gains.append(0.0)
    return np.array(picks, np.int64), np.array(gains, np.float64), log_det, n_dpp


def dpp_select_kernel(
    kernel: ArrayLike, k: int, *, window: int | None = None
) -> tuple[Int, Float, float, int]:
    """``karec.diversity.dpp_select_kernel`` from its definition: (indices, gains, log_det, n_dpp)."""
    matrix = np.asarray(kernel, np.float64)
    first = np.diag(matrix)
    picks: list[int] = []
    gains: list[float] = []
    while len(picks) < min(k, len(matrix)):
        near = _near(picks, window)
        d2 = _conditional(matrix, near)
        allowed = ~np.isin(np.arange(len(matrix)), picks) & (d2 > LEAST_SHARE * first)
        if not allowed.any():
            break
        best = int(np.argmax(np.where(allowed, d2, -1.0)))
        picks.append(best)
        gains.append(float(d2[best]))
    return np.array(picks, np.int64), np.array(gains, np.float64), float(np.log(gains).sum()), len(picks)


def _with_shown(
    embeddings: ArrayLike,
    facets: Sequence[tuple[Int, float, bool]],
    shown: ArrayLike | None,
    shown_facets: ArrayLike | None,
) -> tuple[Float, int]:
    """S of what was shown and of the items together, and how many were shown. ``facets``: of each the items'
    codes, its weight, and whether what was shown has values of it: without, it has neither likeness nor
    length by that facet."""
    seen = np.zeros((0, unit(embeddings).shape[1])) if shown is None else np.asarray(shown, np.float64)
    m, left = len(seen), 1 - sum(weight for _, weight, _ in facets)
    f = np.concatenate([unit(seen), unit(embeddings)])
    s = left * (f @ f.T)
    of_shown = iter(
        np.zeros((len(facets), m), np.int64) if shown_facets is None else np.asarray(shown_facets, np.int64)
    )
    for codes, weight, valued in facets:
        both = np.concatenate([next(of_shown) if valued else np.zeros(m, np.int64), codes])
        alike = both[:, None] == both[None, :]
        if not valued:
            alike[:m] = alike[:, :m] = False
        s += weight * alike
    return s, m


def _independent(kernel: Float, m: int) -> list[int]:
    """Those of the first m that add something to the ones before them."""
    kept: list[int] = []
    for i in range(m):
        if _conditional(kernel, kept)[i] > LEAST_SHARE * kernel[i, i]:
            kept.append(i)
    return kept


def _conditional(kernel: Float, given: list[int]) -> Float:
    """det K_{Y∪i} / det K_Y for every i: the diagonal of the Schur complement of K_Y."""
    if not given:
        return np.diag(kernel).copy()
    across = kernel[given]
    solved = np.linalg.solve(kernel[np.ix_(given, given)], across)
    return np.asarray(np.diag(kernel) - np.einsum("ti,ti->i", across, solved))


def _within_quotas(
    codes: NDArray[Any], picks: list[int], most: int | None, least: int, k: int
) -> NDArray[np.bool_]:
    """Items whose type has less than ``most``; where what is owed needs all places left, only such types."""
    of_type = {code: int(np.count_nonzero(codes == code)) for code in np.unique(codes)}
    taken = {code: int(np.count_nonzero(codes[picks] == code)) for code in of_type}
    owed = {code: max(0, min(least, of_type[code]) - taken[code]) for code in of_type}
    forced = 0 < sum(owed.values()) >= k - len(picks)
    return np.array([(most is None or taken[c] < most) and (owed[c] > 0 or not forced) for c in codes], bool)


def mmr_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = 0.5,
    window: int | None = None,
    shown: ArrayLike | None = None,
    facets: ArrayLike | None = None,
    facet_weights: Sequence[float] = (),
    shown_facets: ArrayLike | None = None,
) -> tuple[Int, Float]:
    """``karec.diversity.mmr_select``: (indices, scores)."""
    f, seen = _features(embeddings, shown, facets, facet_weights, shown_facets)
    r = np.asarray(relevance, np.float64)
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < min(k, len(f)):
        against = np.vstack([seen, f[_near(picks, window)]])
        largest = (f @ against.T).max(axis=1) if len(against) else np.zeros(len(f))
        score = (1 - diversity) * r - diversity * largest
        score[picks] = -np.inf
        picks.append(int(np.argmax(score)))
        scores.append(float(score[picks[-1]]))
    return np.array(picks, np.int64), np.array(scores)


def ssd_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = 0.5,
    window: int | None = None,
    shown: ArrayLike | None = None,
    facets: ArrayLike | None = None,
    facet_weights: Sequence[float] = (),
    shown_facets: ArrayLike | None = None,
) -> tuple[Int, Float]:
    """``karec.diversity.ssd_select``: (indices, scores).

    A direction is the component of its item that is orthogonal to the window at its time.
    """
    f, seen = _features(embeddings, shown, facets, facet_weights, shown_facets)
    r = np.asarray(relevance, np.float64)
    basis: list[Float] = []
    for g in seen:
        basis.append(_left_of(g, basis))
    n_seen = len(basis)
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < min(k, len(f)):
        if window is not None and len(basis) - n_seen > window - 1:
            del basis[n_seen]
        u = np.array(basis).reshape(-1, f.shape[1])
        squared = (f * f).sum(axis=1) - ((f @ u.T) ** 2).sum(axis=1)
        score = (1 - diversity) * r + diversity * np.sqrt(np.where(squared > LEAST_RESIDUAL, squared, 0))
        score[picks] = -np.inf
        picks.append(int(np.argmax(score)))
        scores.append(float(score[picks[-1]]))
        basis.append(_left_of(f[picks[-1]], basis))
    return np.array(picks, np.int64), np.array(scores)


def _features(
    embeddings: ArrayLike,
    shown: ArrayLike | None,
    facets: ArrayLike | None,
    facet_weights: Sequence[float],
    shown_facets: ArrayLike | None,
) -> tuple[Float, Float]:
    """Of the items and of what was shown: vectors at length √(1 − Σ w_f), and a column for each value of each
    facet."""
    f = unit(embeddings)
    n, seen = len(f), np.zeros((0, f.shape[1])) if shown is None else unit(shown)
    columns = [np.sqrt(max(0.0, 1 - sum(facet_weights))) * np.concatenate([f, seen])]
    for at, weight in enumerate(facet_weights):
        of_shown = [] if shown_facets is None else np.asarray(shown_facets, np.int64)[at]
        codes = np.concatenate([np.asarray(facets, np.int64)[at], np.asarray(of_shown, np.int64)])
        one_hot = np.zeros((n + len(seen), len(np.unique(codes))))
        one_hot[np.arange(len(codes)), np.unique(codes, return_inverse=True)[1]] = np.sqrt(weight)
        columns.append(one_hot)
    both = np.hstack(columns)
    return both[:n], both[n:]


def _near(picks: list[int], window: int | None) -> list[int]:
    return picks if window is None else picks[len(picks) - min(window - 1, len(picks)) :]


def _left_of(f: Float, basis: list[Float]) -> Float:
    p = f - sum((np.dot(u, f) * u for u in basis), np.zeros_like(f))
    return p / np.linalg.norm(p) if p @ p > LEAST_RESIDUAL else np.zeros_like(f)


def arrange(
    n: int,
    rules: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int], int, int]],
    slots: Sequence[tuple[int, Sequence[bool] | None]],
    only: Sequence[bool],
    k: int,
) -> tuple[list[int], int, int]:
    """(places, unmet slots, excess) of the best of all lists; ``native/include/karec/arrange.hpp`` says which
    that is.

    rules are (puts, looks, shown, window, allowed). Every list of the items is looked at: O(n!).
    """
    at = dict(slots)
    for length in range(min(k, n + len(slots)), -1, -1):
        best = None
        for places in _filled(length, n, at, only, []):
            unmet = sum(
                fits is not None and place < length and not fits[places[place]] for place, fits in slots
            )
            preferred = [(not _fits(at.get(place), item), item) for place, item in enumerate(places)]
            found = (unmet, _excess(places, rules), preferred, places)
            best = found if best is None else min(best, found)
        if best is not None:
            behind = sum(fits is not None and length <= place for place, fits in slots)
            return best[3] + [-1] * (k - length), best[0] + behind, best[1]
    raise AssertionError("the empty list is always there")


def _fits(fits: Sequence[bool] | None, item: int) -> bool:
    return fits is None or bool(fits[item])


def _filled(
    length: int, n: int, at: Mapping[int, Sequence[bool] | None], only: Sequence[bool], begun: list[int]
) -> Iterator[list[int]]:
    """All lists whose places are filled, free ones by −1; items of ``only`` stand where they fit alone."""
    place = len(begun)
    if place == length:
        yield begun
    elif place in at and at[place] is None:
        yield from _filled(length, n, at, only, [*begun, -1])
    else:
        fits = at.get(place)
        for item in range(n):
            if item not in begun and (not only[item] or (fits is not None and fits[item])):
                yield from _filled(length, n, at, only, [*begun, item])


def _excess(
    places: Sequence[int], rules: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int], int, int]]
) -> int:
    total = 0
    for puts, looks, shown, window, allowed in rules:
        marks = [*shown, *(-1 if item < 0 else puts[item] for item in places)]
        for place, item in enumerate(places):
            if item >= 0 and looks[item] >= 0:
                here = len(shown) + place
                found = marks[max(0, here - window + 1) : here].count(looks[item])
                total += max(0, found - allowed)
    return total
