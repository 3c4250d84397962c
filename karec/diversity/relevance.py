"""Scales relevance, so that one ``diversity`` means the same for inner products and for probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library


def standardise_scores(scores: ArrayLike) -> NDArray[np.float32]:
    """Returns (N,) (score − mean) / deviation, computed in float64, or 0 if all scores are equal. O(N).

    Raises ValueError for NaN or infinity.
    """
    return library.standardise(scores)


def scale_relevance(relevance: ArrayLike, standardise: object) -> ArrayLike:
    """Returns ``relevance``, standardised if ``standardise`` is True.

    Relevance with a wrong shape, dtype or value is returned unchanged: the selection rejects it and names
    it. Raises TypeError if ``standardise`` is not a bool.
    """
    if not isinstance(standardise, bool | np.bool_):
        raise TypeError(f"standardise must be True or False, got {standardise!r}")
    given = np.asarray(relevance)
    if not standardise or given.ndim != 1 or given.dtype.kind not in "fiub":
        return relevance
    with np.errstate(over="ignore"):
        r = given.astype(np.float32, copy=False)
    return standardise_scores(r) if np.isfinite(r).all() else relevance
