from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def in_turns(
    arrays: Sequence[NDArray[np.int32]],
    which: NDArray[np.int64],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    n_rows: int,
    limit: int,
) -> NDArray[np.int32]:
    """Rows of L lists read in turns (first of each, second of each, …), repeats left out, at most ``limit``:
    (n,).

    List i is ``arrays[which[i]][begins[i]:ends[i]]``, rows in 0 … ``n_rows`` − 1. A repeat takes its list's
    turn. Contiguous int32 arrays are not copied. Raises ValueError for a wrong shape, a list outside its
    array and a row out of range. O(entries read + n_rows / 64), the GIL is released.
    """
