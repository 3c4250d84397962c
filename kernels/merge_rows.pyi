from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_CHANNELS: int

def merge_rows(
    ids: Sequence[NDArray[np.int64]],
    scores: Sequence[NDArray[np.float32]],
    rows: Sequence[NDArray[np.int32]],
    n_rows: int,
    quotas: Sequence[int],
    limit: int,
    floors: Sequence[int] | None = None,
    left_out: NDArray[np.int64] | None = None,
    left_out_rows: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32], NDArray[np.uint32]]:
    """``merge_channels`` of works whose rows in an index of ``n_rows`` are known, in about half of the time.

    rows           of each channel (n_c,) int32: works of one row have one id, and −1 is a work that the index
                   does not know, which its id tells apart. The output has each work's row
    left_out_rows  the same of ``left_out``

    At most MOST_CHANNELS channels. The thread keeps 1 byte of memory a row, or 2 for more than 7 channels.
    Otherwise as ``merge_channels``; ValueError also for a row that is not in −1 … n_rows − 1. O(Σ n_c), and
    O(u log u) of u entries without a row; the GIL is released.
    """
