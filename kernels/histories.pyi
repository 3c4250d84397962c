from typing import Any

import numpy as np
from numpy.typing import NDArray

def padded_histories(
    values: NDArray[np.integer[Any]],
    starts: NDArray[np.integer[Any]],
    ends: NDArray[np.integer[Any]],
    width: int,
) -> NDArray[np.int64]:
    """``(N, width) int64``: row n is ``values[starts[n]:ends[n]]`` last first, cut at ``width``, padded with
    −1.

    Raises ValueError when the shapes differ or a row does not keep to 0 ≤ start ≤ end ≤ len(values). O(N ·
    width).
    """
