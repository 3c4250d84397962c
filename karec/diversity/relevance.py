"""Relevance on one scale, so that one ``diversity`` means the same for inner products and for
probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library


def standardised(scores: ArrayLike) -> NDArray[np.float32]:
    """(N,) (r − mean) / deviation, computed in float64; 0 where all scores are the same, as for a single one.
    O(N).

    ValueError: NaN or infinity.
    """
    return library.standardise(scores)


def scaled(relevance: ArrayLike, standardise: object, indptr: ArrayLike | None = None) -> ArrayLike:
    """``relevance`` as a selection reads it: standardised if ``standardise`` is True, within each list of
    ``indptr``.

    TypeError for a ``standardise`` that is no bool. Relevance that no selection takes comes back as it is,
    for the selection to refuse it by name.
    """
    if not isinstance(standardise, bool | np.bool_):
        raise TypeError(f"standardise must be True or False, got {standardise!r}")
    given = np.asarray(relevance)
    if not standardise or given.ndim != 1 or given.dtype.kind not in "fiub":
        return relevance
    if indptr is None and given.dtype == np.float32:
        return standardised(given) if np.isfinite(given).all() else relevance
    with np.errstate(over="ignore"):
        r = given.astype(np.float32)
    if not np.isfinite(r).all():
        return relevance
    if indptr is None:
        return standardised(r)
    bounds = np.asarray(indptr)
    if bounds.ndim == 1 and bounds.dtype.kind in "iu":
        for first, end in pairwise(bounds.tolist()):
            if 0 <= first < end:
                r[first:end] = standardised(r[first:end])
    return r
