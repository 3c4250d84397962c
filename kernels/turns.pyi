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
    allowed: NDArray[np.bool_] | None = None,
    limits: NDArray[np.int64] | None = None,
) -> NDArray[np.int32]:
    """Returns (n,) rows of L lists in turns: the first of each, the second of each, …, without repeats.

    Args:
        arrays: int32 (·,). Contiguous arrays are not copied.
        which, begins, ends: (L,). List i is ``arrays[which[i]][begins[i]:ends[i]]``.
        n_rows: rows are in 0 … n_rows − 1.
        limit: maximal n. A repeat uses up its list's turn.
        allowed: (n_rows,) rows that may be taken; the others use up no turn. None: all.
        limits: (L,) turns of each list. None: its length.

    Raises:
        ValueError: a wrong shape, a list outside its array, a row out of range.

    Cost: O(entries read + n_rows / 64). The GIL is released.
    """
