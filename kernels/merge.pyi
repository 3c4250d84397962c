from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_CHANNELS: int
MAX_LIMIT: int

def merge_channels(
    ids: Sequence[NDArray[np.int64]],
    scores: Sequence[NDArray[np.float32]],
    quotas: Sequence[int],
    limit: int,
    floors: Sequence[int] | None = None,
    left_out: NDArray[np.int64] | None = None,
    rows: Sequence[NDArray[np.int32] | None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32], NDArray[np.uint32]]:
    """Merges the candidates of C sources into one list without repeats.

    Source c is walked from its best candidate. An item that is in the output gets bit c in ``sources`` and
    keeps the score of the source that added it. A new item is added and counts against ``quotas[c]``; the
    walk ends when the quota is used. Once the output has ``limit`` items, nothing is added, and a source only
    sets its bits within its first ``quotas[c]`` entries. The output is ordered by source, so the order of
    sources is their priority.

    Args:
        ids: (n_c,) int64 of each source, best first. At most 32 sources.
        scores: (n_c,) float32 of each source. Contiguous ids and scores are not copied.
        quotas: most items that source c adds; 0 turns it off.
        limit: most items of the output, 1 … 2³¹ − 1.
        floors: min(floors[c], n_c) places are reserved for each source. Places that it does not use are
            filled afterwards by the sources in order, each from its first item without room. So the output
            has at least min(floors[c], n_c) items of source c that are not in ``left_out``, whoever added
            them.
        left_out: (M,) int64, ids that are skipped and count nowhere.
        rows: (n_c,) int32 of each source, or None. An item has the row of the source that added it, else −1.

    Returns:
        ids (N,) int64, scores (N,) float32, rows (N,) int32, sources (N,) uint32 bits.

    Raises:
        ValueError: a wrong rank, dtype, length or number, a floor above its quota, floors above the limit.

    Cost: O(Σ n_c). The GIL is released.
    """

def sole_counts(sources: NDArray[np.uint32], n_channels: int) -> NDArray[np.int64]:
    """Returns (C,): the number of items of ``sources`` (N,) that have only the bit of source c.

    Cost: O(N). The GIL is released.
    """
