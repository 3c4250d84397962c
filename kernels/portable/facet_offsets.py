"""What facets add to the product of a row with a direction that rows span. O(F·rows + F·values)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def facet_offsets(facets: Any, weights: Any, counted: Any, share: Any, n_values: int) -> Any:
    """(F, n_values): what a direction adds to its product with a row of each value: w_f times the shares of
    the counted rows that have it."""
    offsets = np.zeros((len(weights), n_values))
    for f in range(len(weights)):
        for s in range(len(share)):
            value = facets[f, counted[s]]
            if value >= 0:
                offsets[f, value] += weights[f] * share[s]
    return offsets
