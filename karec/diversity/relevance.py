"""Scales relevance, so that one ``diversity`` means the same for inner products and for probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library


def standardise_scores(scores: ArrayLike) -> NDArray[np.float32]:
    """Returns (N,) (score − mean) / deviation, computed in float64, or 0 if all scores are equal. O(N).

    Raises ValueError for NaN or infinity.
    """
    return library.standardise(scores)


def scale_relevance(relevance: ArrayLike, standardise: object, indptr: ArrayLike | None = None) -> ArrayLike:
    """Returns ``relevance``, standardised if ``standardise`` is True, within each list of ``indptr``.

    Relevance with a wrong shape, dtype or value is returned unchanged: the selection rejects it and names
    it. Raises TypeError if ``standardise`` is not a bool.
    """
    if not isinstance(standardise, bool | np.bool_):
        raise TypeError(f"standardise must be True or False, got {standardise!r}")
    given = np.asarray(relevance)
    if not standardise or given.ndim != 1 or given.dtype.kind not in "fiub":
        return relevance
    if indptr is None and given.dtype == np.float32:
        return standardise_scores(given) if np.isfinite(given).all() else relevance
    with np.errstate(over="ignore"):
        r = given.astype(np.float32)
    if not np.isfinite(r).all():
        return relevance
    if indptr is None:
        return standardise_scores(r)
    bounds = np.asarray(indptr)
    if bounds.ndim == 1 and bounds.dtype.kind in "iu":
        for first, end in pairwise(bounds.tolist()):
            if 0 <= first < end:
                r[first:end] = standardise_scores(r[first:end])
    return r
