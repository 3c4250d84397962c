"""MMR and SSD: NumPy in, NumPy out; the work is done in C++, without the GIL, on one thread.

The definitions stand in ``native/include/karec/mmr_ssd.hpp``, the oracles in ``kernels/reference.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library
from karec.diversity.relevance import scaled
from karec.kernels.dpp_options import DIVERSITY, checked_facet_weights
from karec.kernels.option_values import between, positive, positive_or_none


@dataclass(frozen=True, eq=False)
class MarginalResult:
    """What MMR or SSD selected, in order: ``indices (n,) int64``, and their ``scores (n,) float64`` when
    picked."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float64]


def mmr_select(
    embeddings: ArrayLike,
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
) -> MarginalResult:
    """Maximal marginal relevance (Carbonell & Goldstein 1998): picks, ``min(k, N)`` times, the largest
    (1 − diversity)·r_i − diversity·max_j S_ij, where j is what was shown or picked; ties by lowest index. S
    is the cosine of embeddings, and with facets (1 − Σ w_f)·cosine + Σ_f w_f·[the same value], as in a DPP.

    embeddings (N, D) float32 or float16 · relevance (N,) float32 · window ≥ 1: only the last window − 1 picks
    count · shown (M, D): seen already, and always counted · facets, facet_weights, shown_facets, standardise:
    as in ``DppOptions``.

    ValueError as in ``dpp_select``. O(N·k·D) at worst; with facets each counted row adds at most F to D.
    """
    relevance, numbers = scaled(relevance, standardise), _numbers(k, diversity, window)
    alike = (facets, checked_facet_weights(facet_weights), shown_facets)
    return MarginalResult(*library.mmr_select(embeddings, relevance, *numbers, shown, *alike))


def ssd_select(
    embeddings: ArrayLike,
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
) -> MarginalResult:
    """Sliding spectrum decomposition (Huang et al. 2021, without the volume): picks the largest
    (1 − diversity)·r_i + diversity·‖p_i‖, where p_i is what modified Gram–Schmidt over what was shown or
    picked leaves of the features of i, whose inner products are the S of ``mmr_select``; ties by lowest
    index. Arguments, errors and cost as there.
    """
    relevance, numbers = scaled(relevance, standardise), _numbers(k, diversity, window)
    alike = (facets, checked_facet_weights(facet_weights), shown_facets)
    return MarginalResult(*library.ssd_select(embeddings, relevance, *numbers, shown, *alike))


def _numbers(k: int, diversity: float, window: int | None) -> tuple[int, float, int | None]:
    return positive("k", k), between("diversity", diversity, 1.0), positive_or_none("window", window)
