"""Float64 reference of scoring, DPP, MMR, SSD and arranged lists, written like the definitions, for tests.

``native/include/karec/dpp.hpp`` has the definition of the DPP. Never served: O(N·k³), memory O(N²).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MIN_RESIDUAL = 1e-6  # relative to an item's first residual; below it the item adds nothing
MIN_SQUARED_NORM = 1e-5  # below it the orthogonal component of a unit vector counts as 0


def scores(vectors: ArrayLike, query: ArrayLike, rows: ArrayLike) -> Float:
    """Returns (N,) ⟨query, vectors[row]⟩ of ``rows``; −inf for row −1."""
    index = np.asarray(rows, np.int64)
    products = np.asarray(vectors, np.float64)[np.maximum(index, 0)] @ np.asarray(query, np.float64)
    return np.where(index < 0, -np.inf, products)


def top_k(values: ArrayLike, k: int) -> Int:
    """Returns the positions of the ``k`` largest values, descending, ties by position."""
    return np.argsort(-np.asarray(values, np.float64), kind="stable")[:k]


def unit(embeddings: ArrayLike) -> Float:
    """Returns the rows scaled to unit length; a zero row stays zero."""
    x = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms > 0, norms, 1)


def log_qualities(relevance: ArrayLike, alpha: float, weights: ArrayLike | None) -> Float:
    """Returns log q_i = log weights_i + α·(r_i − max r). With α = ∞ only the most relevant have q > 0."""
    r = np.asarray(relevance, np.float64)
    below_best = r - r.max(initial=-np.inf)
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.ones(len(r)) if weights is None else np.asarray(weights, np.float64))
    return log_weights + np.where(below_best == 0, 0.0, alpha * np.minimum(below_best, -np.finfo(float).tiny))


def similarity(embeddings: ArrayLike, facets: ArrayLike, weights: ArrayLike) -> Float:
    """Returns S = (1 − Σ w_f)·F Fᵀ + Σ_f w_f·[facet_f(i) = facet_f(j)] for facets (F, N), weights (F,)."""
    f, w = unit(embeddings), np.asarray(weights, np.float64)
    s = (1 - w.sum()) * (f @ f.T)
    for codes, weight in zip(np.asarray(facets, np.int64), w, strict=True):
        s += weight * (codes[:, None] == codes[None, :])
    return np.asarray(s)


def alpha_of(diversity: float) -> float:
    """Returns α = (1 − diversity) / (2·diversity)."""
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
    """Returns (indices, gains, log_det, n_dpp) of ``karec.diversity.dpp_select`` by its definition."""
    n = len(np.asarray(relevance))
    log_q = log_qualities(relevance, alpha_of(diversity) if alpha is None else alpha, weights)
    q2 = np.exp(log_q) ** 2
    all_facets = []
    if types is not None and type_weight > 0:
        all_facets.append((np.asarray(types, np.int64), type_weight, False))
    for codes, weight in zip([] if facets is None else np.asarray(facets), facet_weights, strict=True):
        all_facets.append((np.asarray(codes, np.int64), weight, shown_facets is not None))
    s, m = _similarity_with_shown(embeddings, all_facets, shown, shown_facets)
    k_unit = s + ridge * np.eye(len(s))  # rows 0 … m − 1: shown items, then the candidates
    first = np.diag(k_unit)[m:]
    context = _independent(k_unit, m)
    codes = np.zeros(n, np.int64) if types is None else np.asarray(types)
    picks: list[int] = []
    gains: list[float] = []
    log_det = 0.0
    while len(picks) < min(k, n):
        recent = _last_picks(picks, None if window is None or window >= k else window)
        rho = _conditional(k_unit, [*context, *(m + i for i in recent)])[m:]
        is_allowed = ~np.isin(np.arange(n), picks) & (rho > MIN_RESIDUAL * first) & (q2 * rho > 0)
        is_allowed &= _within_quotas(codes, picks, max_per_type, min_per_type, min(k, n))
        if not is_allowed.any():
            break
        best = int(np.argmax(np.where(is_allowed, q2 * rho, -1.0)))
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
    """Returns (indices, gains, log_det, n_dpp) of ``karec.diversity.dpp_select_kernel`` by its definition."""
    matrix = np.asarray(kernel, np.float64)
    first = np.diag(matrix)
    picks: list[int] = []
    gains: list[float] = []
    while len(picks) < min(k, len(matrix)):
        d2 = _conditional(matrix, _last_picks(picks, window))
        is_allowed = ~np.isin(np.arange(len(matrix)), picks) & (d2 > MIN_RESIDUAL * first)
        if not is_allowed.any():
            break
        best = int(np.argmax(np.where(is_allowed, d2, -1.0)))
        picks.append(best)
        gains.append(float(d2[best]))
    return np.array(picks, np.int64), np.array(gains, np.float64), float(np.log(gains).sum()), len(picks)


def _similarity_with_shown(
    embeddings: ArrayLike,
    facets: Sequence[tuple[Int, float, bool]],
    shown: ArrayLike | None,
    shown_facets: ArrayLike | None,
) -> tuple[Float, int]:
    """Returns S of the shown items and the candidates, and the number of shown items.

    ``facets``: codes of the candidates, weight, and True if the shown items have codes too. If not, this
    facet adds nothing to their rows, not even to the diagonal.
    """
    context = np.zeros((0, unit(embeddings).shape[1])) if shown is None else np.asarray(shown, np.float64)
    m = len(context)
    f = np.concatenate([unit(context), unit(embeddings)])
    s = (1 - sum(weight for _, weight, _ in facets)) * (f @ f.T)
    context_codes = iter([] if shown_facets is None else np.asarray(shown_facets, np.int64))
    for codes, weight, has_context_codes in facets:
        both = np.concatenate([next(context_codes) if has_context_codes else np.zeros(m, np.int64), codes])
        is_equal = both[:, None] == both[None, :]
        if not has_context_codes:
            is_equal[:m] = is_equal[:, :m] = False
        s += weight * is_equal
    return s, m


def _independent(kernel: Float, m: int) -> list[int]:
    """Returns the rows below m that add something to the rows before them."""
    kept: list[int] = []
    for i in range(m):
        if _conditional(kernel, kept)[i] > MIN_RESIDUAL * kernel[i, i]:
            kept.append(i)
    return kept


def _conditional(kernel: Float, y: list[int]) -> Float:
    """Returns det K_{Y∪i} / det K_Y for every i: the diagonal of the Schur complement of K_Y."""
    if not y:
        return np.diag(kernel).copy()
    across = kernel[y]
    solved = np.linalg.solve(kernel[np.ix_(y, y)], across)
    return np.asarray(np.diag(kernel) - np.einsum("ti,ti->i", across, solved))


def _within_quotas(
    codes: NDArray[Any], picks: list[int], max_per_type: int | None, min_per_type: int, k: int
) -> NDArray[np.bool_]:
    """Returns the items that the quotas of their types allow.

    A type with ``max_per_type`` picks allows none. Once the missing picks of all types need all places that
    are left, only types with missing picks are allowed.
    """
    totals = {code: int(np.count_nonzero(codes == code)) for code in np.unique(codes)}
    taken = {code: int(np.count_nonzero(codes[picks] == code)) for code in totals}
    missing = {code: max(0, min(min_per_type, totals[code]) - taken[code]) for code in totals}
    is_forced = 0 < sum(missing.values()) >= k - len(picks)
    is_open = {code: max_per_type is None or taken[code] < max_per_type for code in totals}
    return np.array([is_open[code] and (missing[code] > 0 or not is_forced) for code in codes], bool)


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
    """Returns (indices, scores) of ``karec.diversity.mmr_select``."""
    f, context = _features(embeddings, shown, facets, facet_weights, shown_facets)
    r = np.asarray(relevance, np.float64)
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < min(k, len(f)):
        selected = np.vstack([context, f[_last_picks(picks, window)]])
        largest = (f @ selected.T).max(axis=1) if len(selected) else np.zeros(len(f))
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
    """Returns (indices, scores) of ``karec.diversity.ssd_select``.

    The direction of a pick is its component orthogonal to the window at the time of the pick.
    """
    f, context = _features(embeddings, shown, facets, facet_weights, shown_facets)
    r = np.asarray(relevance, np.float64)
    basis: list[Float] = []
    for g in context:
        basis.append(_orthogonal(g, basis))
    n_context = len(basis)
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < min(k, len(f)):
        if window is not None and len(basis) - n_context > window - 1:
            del basis[n_context]
        u = np.array(basis).reshape(-1, f.shape[1])
        squared = (f * f).sum(axis=1) - ((f @ u.T) ** 2).sum(axis=1)
        score = (1 - diversity) * r + diversity * np.sqrt(np.where(squared > MIN_SQUARED_NORM, squared, 0))
        score[picks] = -np.inf
        picks.append(int(np.argmax(score)))
        scores.append(float(score[picks[-1]]))
        basis.append(_orthogonal(f[picks[-1]], basis))
    return np.array(picks, np.int64), np.array(scores)


def _features(
    embeddings: ArrayLike,
    shown: ArrayLike | None,
    facets: ArrayLike | None,
    facet_weights: Sequence[float],
    shown_facets: ArrayLike | None,
) -> tuple[Float, Float]:
    """Returns the vectors of the candidates and of the shown items.

    They have the embedding with length √(1 − Σ w_f) and a column for each value of each facet.
    """
    f = unit(embeddings)
    context = np.zeros((0, f.shape[1])) if shown is None else unit(shown)
    n = len(f)
    columns = [np.sqrt(max(0.0, 1 - sum(facet_weights))) * np.concatenate([f, context])]
    for facet, weight in enumerate(facet_weights):
        context_codes = [] if shown_facets is None else np.asarray(shown_facets, np.int64)[facet]
        codes = np.concatenate([np.asarray(facets, np.int64)[facet], np.asarray(context_codes, np.int64)])
        one_hot = np.zeros((n + len(context), len(np.unique(codes))))
        one_hot[np.arange(len(codes)), np.unique(codes, return_inverse=True)[1]] = np.sqrt(weight)
        columns.append(one_hot)
    both = np.hstack(columns)
    return both[:n], both[n:]


def _last_picks(picks: list[int], window: int | None) -> list[int]:
    return picks if window is None else picks[len(picks) - min(window - 1, len(picks)) :]


def _orthogonal(f: Float, basis: list[Float]) -> Float:
    p = f - sum((np.dot(u, f) * u for u in basis), np.zeros_like(f))
    return p / np.linalg.norm(p) if p @ p > MIN_SQUARED_NORM else np.zeros_like(f)


def arrange(
    n: int,
    rules: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int], int, int]],
    slots: Sequence[tuple[int, Sequence[bool] | None]],
    only: Sequence[bool],
    k: int,
) -> tuple[list[int], int, list[int]]:
    """Returns (places, unmet slots, excess of each rule) of the best list, as
    ``native/include/karec/arrange.hpp`` defines.

    ``rules``: (puts, looks, shown, window, allowed). It tries all lists.

    Cost: O(n!).
    """
    slot_of = dict(slots)
    for length in range(min(k, n + len(slots)), -1, -1):
        best = None
        for places in _lists(length, n, slot_of, only, []):
            unmet = sum(
                fits is not None and place < length and not fits[places[place]] for place, fits in slots
            )
            preferred = [(not _fits(slot_of.get(place), item), item) for place, item in enumerate(places)]
            cost = (unmet, _excess(places, rules), preferred, places)
            best = cost if best is None else min(best, cost)
        if best is not None:
            n_unfilled = sum(fits is not None and length <= place for place, fits in slots)
            return best[3] + [-1] * (k - length), best[0] + n_unfilled, best[1]
    raise AssertionError("the empty list is always possible")


def _fits(fits: Sequence[bool] | None, item: int) -> bool:
    return fits is None or bool(fits[item])


def _lists(
    length: int, n: int, slot_of: Mapping[int, Sequence[bool] | None], only: Sequence[bool], start: list[int]
) -> Iterator[list[int]]:
    """Yields all full lists that begin with ``start``; −1: empty. Items of ``only`` only fill their slots."""
    place = len(start)
    if place == length:
        yield start
    elif place in slot_of and slot_of[place] is None:
        yield from _lists(length, n, slot_of, only, [*start, -1])
    else:
        fits = slot_of.get(place)
        for item in range(n):
            if item not in start and (not only[item] or (fits is not None and fits[item])):
                yield from _lists(length, n, slot_of, only, [*start, item])


def _excess(
    places: Sequence[int], rules: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int], int, int]]
) -> list[int]:
    excess = [0] * len(rules)
    for rule, (puts, looks, shown, window, allowed) in enumerate(rules):
        marks = [*shown, *(-1 if item < 0 else puts[item] for item in places)]
        for place, item in enumerate(places):
            if item >= 0 and looks[item] >= 0:
                here = len(shown) + place
                n_equal = marks[max(0, here - window + 1) : here].count(looks[item])
                excess[rule] += max(0, n_equal - allowed)
    return excess
