from typing import Any

import numpy as np
from numpy.typing import NDArray

def padded_histories(
    values: NDArray[np.integer[Any]],
    starts: NDArray[np.integer[Any]],
    ends: NDArray[np.integer[Any]],
    width: int,
) -> NDArray[np.int64]:
    """Returns (N, width) int64: row n is ``values[starts[n]:ends[n]]``, newest first, cut or padded with −1.

    Raises ValueError if the shapes differ or a row has not 0 ≤ start ≤ end ≤ len(values).

    Cost: O(N · width).
    """
