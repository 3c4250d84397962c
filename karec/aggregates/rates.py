"""Smoothed rates: how often a label is positive among a work's shows, near the mean rate while there are few
shows.

rate = (positives + m·mean) / (shows + m)         m = prior_shows imagined shows at the mean rate
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIOR_SHOWS = 20.0


def mean_rate(positives: NDArray[Any], shows: NDArray[Any]) -> float:
    """Σ positives / Σ shows of ``(N,)`` counts, in float64; 0 where nothing was shown."""
    return float(positives.sum(dtype=np.float64) / max(shows.sum(dtype=np.float64), 1.0))


def smoothed_rate(
    positives: NDArray[Any], shows: NDArray[Any], mean: float | NDArray[Any], prior_shows: float = PRIOR_SHOWS
) -> NDArray[Any]:
    """(N,) float64 in [0, 1]: the smoothed rate of each of N works or scenes, from counts ``(N,)``.

    ``mean`` is one rate, or one for each of N.
    """
    return np.asarray(
        (positives.astype(np.float64) + prior_shows * mean) / (shows.astype(np.float64) + prior_shows)
    )
