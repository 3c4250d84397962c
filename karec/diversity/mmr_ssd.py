"""Maximal marginal relevance (MMR) and sliding spectrum decomposition (SSD), in C++ without the GIL.

``native/include/karec/mmr_ssd.hpp`` has the definitions, ``kernels/reference.py`` the references in float64.

Source: Carbonell, Goldstein: The use of MMR, 1998. Huang et al.: Sliding spectrum decomposition, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from karec.diversity.dpp import DiversityResult
from karec.diversity.native import library
from karec.diversity.options import check_facet_weights
from karec.diversity.relevance import scale_relevance
from karec.kernels.arguments import DIVERSITY, between, positive, positive_or_none


def mmr_select(
    vectors: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = DIVERSITY,
    window: int | None = None,
    shown: ArrayLike | None = None,
    facets: ArrayLike | None = None,
    facet_weights: Sequence[float] = (),
    shown_facets: ArrayLike | None = None,
    standardise: bool = False,
) -> DiversityResult:
    """Selects ``min(k, N)`` items by (1 − diversity)·r_i − diversity·max_j S_ij.

    j are the items of ``shown`` and the picks so far. S is the cosine of vectors, and with facets
    (1 − Σ w_f)·cosine + Σ_f w_f·[facet_f(i) = facet_f(j)]. Ties go to the lowest index.

    Args:
        vectors: (N, D) float32 or float16.
        relevance: (N,) float32, larger is better.
        k: maximum number of items.
        diversity: in [0, 1]; 0 selects by relevance.
        window: ≥ 1; only the last window − 1 picks count. None counts all picks.
        shown: (M, D) items that the user saw before. They always count.
        facets, facet_weights, shown_facets, standardise: as in ``dpp_select``.

    Raises:
        ValueError, TypeError: as ``dpp_select``.

    Cost: O(N·k·D) at worst. With F facets each item of ``shown`` and each pick adds at most F to D.
    """
    k, diversity = positive("k", k), between("diversity", diversity, 1.0)
    options = _native_options(window, shown, facets, facet_weights, shown_facets)
    relevance = scale_relevance(relevance, standardise)
    return DiversityResult(*library.mmr_select(vectors, relevance, k, diversity, **options))


def ssd_select(
    vectors: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = DIVERSITY,
    window: int | None = None,
    shown: ArrayLike | None = None,
    facets: ArrayLike | None = None,
    facet_weights: Sequence[float] = (),
    shown_facets: ArrayLike | None = None,
    standardise: bool = False,
) -> DiversityResult:
    """Selects ``min(k, N)`` items by (1 − diversity)·r_i + diversity·‖p_i‖, without the volume term.

    p_i is the component of the features of i that is orthogonal to those of ``shown`` and of the picks so
    far, by modified Gram–Schmidt. Inner products of features are the S of ``mmr_select``. Ties go to the
    lowest index.

    Arguments, errors and cost are those of ``mmr_select``.
    """
    k, diversity = positive("k", k), between("diversity", diversity, 1.0)
    options = _native_options(window, shown, facets, facet_weights, shown_facets)
    relevance = scale_relevance(relevance, standardise)
    return DiversityResult(*library.ssd_select(vectors, relevance, k, diversity, **options))


def _native_options(
    window: int | None,
    shown: ArrayLike | None,
    facets: ArrayLike | None,
    facet_weights: Sequence[float],
    shown_facets: ArrayLike | None,
) -> dict[str, Any]:
    return {
        "window": positive_or_none("window", window),
        "shown": shown,
        "facets": facets,
        "facet_weights": check_facet_weights(facet_weights),
        "shown_facets": shown_facets,
    }
