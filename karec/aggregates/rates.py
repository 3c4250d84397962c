"""Smoothed rates: the fraction of impressions with a positive label, shrunk to the mean for few impressions.

rate = (positives + m·mean) / (shows + m), where m = prior_shows is the weight of the mean in impressions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIOR_SHOWS = 20.0


def mean_rate(positives: NDArray[Any], shows: NDArray[Any]) -> float:
    """Returns Σ positives / Σ shows of (N,) counts, in float64, 0 without impressions."""
    return float(positives.sum(dtype=np.float64) / max(shows.sum(dtype=np.float64), 1.0))


def smoothed_rate(
    positives: NDArray[Any], shows: NDArray[Any], mean: float | NDArray[Any], prior_shows: float = PRIOR_SHOWS
) -> NDArray[Any]:
    """Returns (N,) float64 in [0, 1], the smoothed rates of N items or scenes from counts (N,).

    ``mean`` is one rate, or (N,).
    """
    return np.asarray(
        (positives.astype(np.float64) + prior_shows * mean) / (shows.astype(np.float64) + prior_shows)
    )
