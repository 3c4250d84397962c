"""Greedy selection by a determinantal point process (DPP), in C++ on one thread, without the GIL.

``native/include/karec/dpp.hpp`` has the definition, ``kernels/reference.py`` the reference in float64. The
same input gives the same output on every machine.

Source: Chen, Zhang, Zhou: Fast greedy MAP inference for determinantal point process, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library
from karec.diversity.options import check_dpp_options
from karec.diversity.relevance import scale_relevance
from karec.kernels.arguments import DIVERSITY, RIDGE, positive, positive_or_none


@dataclass(frozen=True, eq=False)
class DiversityResult:
    """Items in the order in which DPP, MMR or SSD picked them.

    indices  (n,) int64    positions in the input
    gains    (n,) float64  DPP: conditional gain d² = det L_{Y∪i} / det L_Y, 0 for picks of the fill.
                           MMR, SSD: the score when picked
    log_det  DPP: sum of log gain over the first n_dpp picks, without a window log det of this part of L
    n_dpp    DPP: number of picks before no item added anything; the fill follows
    ids      (n,) int64    item ids, if the items came from a search of an index
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    log_det: float | None = None
    n_dpp: int | None = None
    ids: NDArray[np.int64] | None = None


def dpp_select(
    vectors: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = DIVERSITY,
    alpha: float | None = None,
    ridge: float = RIDGE,
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
    fill: Literal["relevance"] | None = "relevance",
    standardise: bool = False,
) -> DiversityResult:
    """Selects ``min(k, N)`` of N items that are relevant and differ from each other.

    With f the vectors at unit length, q_i = weights_i · exp(α·(r_i − max r)) and
    S = (1 − Σ w_f)·F Fᵀ + Σ w_f·[facet_f(i) = facet_f(j)], the kernel is L = diag(q)·(S + ridge·I)·diag(q).
    Types with type_weight are one facet of S. Each step takes the largest d²_i = det L_{Y∪i} / det L_Y; ties
    go to the lowest index. An item adds nothing, and is passed over, if d²_i / q_i² is at most 1e-6 of its
    first value or q_i² underflows.

    Args:
        vectors: (N, D) float32 or float16. A zero vector stays zero.
        relevance: (N,) float32, larger is better. Its scale matters; see ``alpha`` and ``standardise``.
        k: maximum number of items.
        diversity: in [0, 1]; α = (1 − diversity) / (2·diversity). 0 selects by relevance, 1 ignores it.
        alpha: α itself, ≥ 0, in place of ``diversity``.
        ridge: in [0, 10]; keeps near-duplicates selectable. Gains are compared in float32 and include the
            ridge, so that a larger one hides the differences between vectors.
        weights: (N,) float32 ≥ 0; factors of q, for more or fewer impressions of some items.
        types: (N,) integer codes. Two items of one type are similar by ``type_weight``.
        type_weight: in [0, 1].
        facets: (F, N) integer codes. Two items with one code in facet f are similar by facet_weights[f].
        facet_weights: (F,) numbers ≥ 0. With ``type_weight`` they sum to at most 1; vectors have the rest.
        window: ≥ 1; a gain counts only the last window − 1 picks. None counts all picks.
        shown: (M, D) items that the user saw before. Gains are conditioned on them (Schur complement, q = 1,
            no type).
        shown_facets: (F, M) codes of ``shown``. None: they are similar to others by their vectors only.
        max_per_type: ≥ 1; maximum number of items of one type in the result, with the fill.
        min_per_type: minimum number of items of each type, as far as the type has them and k has places. If
            types still miss as many items as places are left, only their items are picked.
        fill: after no item adds anything, "relevance" continues by q, largest first; None stops.
        standardise: scales relevance to mean 0 and deviation 1 first, 0 if all scores are equal. One
            ``diversity`` then means the same for scores of every scale.

    Raises:
        ValueError: shapes that do not fit, k ≤ 0, an option out of range, NaN or infinity (with the first
            position).
        TypeError: an option that is not a number, or not a whole one.

    Cost: O(N·k·D) at worst and no N × N matrix. M rows of ``shown`` count as M more picks, and conditioning
    on them costs O(M·D·min(M, D)). ``SearchResult.dpp`` selects from an index without a copy of its vectors.
    """
    options = check_dpp_options(
        diversity=diversity,
        alpha=alpha,
        ridge=ridge,
        weights=weights,
        types=types,
        type_weight=type_weight,
        facets=facets,
        facet_weights=facet_weights,
        window=window,
        shown=shown,
        shown_facets=shown_facets,
        max_per_type=max_per_type,
        min_per_type=min_per_type,
        fill=fill,
    )
    relevance = scale_relevance(relevance, standardise)
    return DiversityResult(*library.dpp_select(vectors, relevance, positive("k", k), **options))


def dpp_select_kernel(kernel: ArrayLike, k: int, *, window: int | None = None) -> DiversityResult:
    """Selects as ``dpp_select`` does, by an explicit kernel, in float64 and without a fill.

    Args:
        kernel: L (N, N), symmetric and positive semi-definite.
        k: maximum number of items.
        window: ≥ 1; a gain counts only the last window − 1 picks. None counts all picks.

    Returns:
        Fewer than k items if the kernel has a smaller rank.

    Raises:
        ValueError: L is not square, NaN or infinity, a negative diagonal, k ≤ 0.

    Cost: O(N·k²) by Chen's incremental Cholesky factorization. With a window it is O(N·k·window).
    """
    return DiversityResult(
        *library.dpp_select_kernel(kernel, positive("k", k), positive_or_none("window", window))
    )
