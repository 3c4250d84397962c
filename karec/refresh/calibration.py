"""Scores of two model versions on one scale: a straight line from the cosines of one to those of the other.

Fitted   For each user, the quantiles of the cosines with the same works by either version's towers; of their
         means over users, the least squares line through the upper tenth: what decides is the order near the
         top, and the relation between two versions is not quite straight.
Why      User and item vectors of both versions have length 1, but cosines of one version may lie higher or
         wider than those of the other, which would favour its works (docs/results.md, "Two model versions in
         one index").
Cost     O(users · works · D).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = np.linspace(0.9, 0.999, 21)


def line_between(old: NDArray[Any], new: NDArray[Any]) -> tuple[float, float]:
    """(scale > 0, offset): old·scale + offset lies on the scale of ``new``; both (users, works), of the same
    pairs.

    (1, 0) where the works tell nothing, since all have one cosine.
    """
    x, y = (np.quantile(each, LEVELS, axis=1).mean(axis=1) for each in (old, new))
    if not x.std() > 0 or not y.std() > 0:
        return 1.0, 0.0
    scale, offset = np.polyfit(x, y, 1)
    return float(scale), float(offset)
