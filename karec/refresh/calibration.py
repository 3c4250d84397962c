"""Calibration between two model versions: a linear map from the cosines of one to those of the other.

Fit      For each user, the quantiles of the cosines with the same items by both versions' towers. The least
         squares line through their means over users, in the upper tenth: the order near the top decides, and
         the relation of two versions is not quite linear.
Reason   User and item vectors of both versions have length 1, but one version's cosines may be higher or more
         spread, which would favor its items (docs/notebook/2026-11-26-results.md, "Two model versions in one
         index").
Cost     O(users · items · D).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = np.linspace(0.9, 0.999, 21)


def fit_line(old: NDArray[Any], new: NDArray[Any]) -> tuple[float, float]:
    """Returns (scale > 0, offset): old·scale + offset is on the scale of ``new``, both (users, items).

    (1, 0) if all cosines are equal.
    """
    x, y = (np.quantile(cosines, LEVELS, axis=1).mean(axis=1) for cosines in (old, new))
    if not x.std() > 0 or not y.std() > 0:
        return 1.0, 0.0
    scale, offset = np.polyfit(x, y, 1)
    return float(scale), float(offset)
