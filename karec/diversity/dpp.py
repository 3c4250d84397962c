"""Greedy DPP: NumPy in, NumPy out; the work is done in C++, without the GIL, on one thread.

The definition, symbol by symbol, stands in ``native/include/karec/dpp.hpp``, the oracle in
``kernels/reference.py``. The same input gives the same output on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library
from karec.diversity.options import DppOptions, native_options
from karec.diversity.relevance import scaled
from karec.kernels.option_values import positive, positive_or_none


@dataclass(frozen=True, eq=False)
class DppResult:
    """What a DPP selected, in the order of selection.

    indices  (n,) int64    into the input
    gains    (n,) float64  conditional gain d² = det L_{Y∪i} / det L_Y of each pick; 0 for picks of the fill
    log_det  Σ log gain over the first n_dpp (without a window: log det of the selected part of the kernel)
    n_dpp    how many the greedy chose before no item added anything; what follows is the fill
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    log_det: float
    n_dpp: int


def dpp_select(
    embeddings: ArrayLike, relevance: ArrayLike, k: int, **options: Unpack[DppOptions]
) -> DppResult:
    """Selects ``min(k, N)`` of N items that are relevant and differ: exact greedy MAP of a DPP (Chen et al.
    2018).

    With f the embeddings at unit length, q_i = weights_i · exp(α·(r_i − max r)) and
    S = (1 − Σ w_f)·F Fᵀ + Σ w_f·[facet_f(i) = facet_f(j)], of which types with type_weight are one facet, the
    kernel is L = diag(q)·(S + ridge·I)·diag(q).
    Each step takes the largest d²_i = det L_{Y∪i} / det L_Y, ties by lowest index. An item whose d²_i / q_i²
    is at most 1e-6 of what it was at first, or whose q_i² underflows, adds nothing and is passed over.

    embeddings  (N, D) float32 or float16; a zero vector stays zero
    relevance   (N,) float32, larger is better; its scale matters, see ``alpha`` and ``standardise``
    options     diversity, alpha, ridge, weights, types, type_weight, facets, facet_weights, window, shown,
                shown_facets, max_per_type, min_per_type, fill, standardise: see ``DppOptions``

    ValueError: shapes that do not fit, k ≤ 0, options out of range, NaN or infinity (naming the first
    position). TypeError: an option that is no number, or no whole one.

    O(N·k·D) at worst, no N × N matrix; M rows of ``shown`` count as M more picks, and O(M·D·min(M, D)) to
    condition on them. ``ItemIndex.dpp_select`` does the same on rows of an index.
    """
    native = native_options("dpp_select", options)
    relevance = scaled(relevance, options.get("standardise", False))
    return DppResult(*library.dpp_select(embeddings, relevance, positive("k", k), **native))


@dataclass(frozen=True, eq=False)
class DppBatchResult:
    """What a DPP selected for each of B users, n = min(k, the longest list); places that a user's items could
    not fill hold −1 and gain 0.

    indices  (B, n) int64    positions in the whole input, not in the user's part of it
    gains    (B, n) float64
    log_det  (B,)   float64
    n_dpp    (B,)   int64
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    log_det: NDArray[np.float64]
    n_dpp: NDArray[np.int64]


def dpp_select_batch(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    indptr: ArrayLike,
    k: int,
    *,
    shown_indptr: ArrayLike | None = None,
    **options: Unpack[DppOptions],
) -> DppBatchResult:
    """``dpp_select`` for B users in one call, one after the other on the calling thread, without the GIL.

    indptr        (B + 1,) int64: user b has items indptr[b] … indptr[b + 1] − 1 of the columns
    shown_indptr  (B + 1,) int64: and rows shown_indptr[b] … of ``shown``

    Everything else as in ``dpp_select``; ``standardise`` is by user. ValueError also: an indptr that falls
    or does not run from 0 to N.
    """
    native = native_options("dpp_select_batch", options)
    relevance = scaled(relevance, options.get("standardise", False), indptr)
    found = library.dpp_select_batch(embeddings, relevance, indptr, shown_indptr, positive("k", k), **native)
    return DppBatchResult(*found)


def dpp_select_kernel(
    kernel: ArrayLike | Callable[[int], ArrayLike],
    k: int,
    *,
    diagonal: ArrayLike | None = None,
    window: int | None = None,
) -> DppResult:
    """The same greedy on an explicit kernel, symmetric positive semi-definite, in float64.

    kernel    L (N, N); or a function that gives column i of it, (N,), and is asked once for each pick but the
              last
    diagonal  (N,) of L, where ``kernel`` is a function

    Chen's incremental Cholesky: O(N·k²), with a window O(N·k·window). There is no fill: the result is shorter
    than k where the kernel's rank gives no more. ValueError: L not square, NaN or infinity, a negative
    diagonal, k ≤ 0. What the function raises comes out.
    """
    k, window = positive("k", k), positive_or_none("window", window)
    if not callable(kernel):
        if diagonal is not None:
            raise ValueError("diagonal is for a kernel that is given as a function; a matrix has its own")
        return DppResult(*library.dpp_select_kernel(kernel, k, window))
    if diagonal is None:
        raise ValueError("a kernel that is given as a function needs diagonal=, its (N,) diagonal")
    return DppResult(*library.dpp_select_columns(kernel, diagonal, k, window))
