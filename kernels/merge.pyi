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
    """Merge C recall channels into one list without repeats: ``ids (N,)``, ``scores (N,)``, ``rows (N,)
    int32`` and ``sources (N,) uint32``.

    Channel c walks its list (``ids[c] (n_c,) int64``, ``scores[c] (n_c,) float32``, best first). A work that
    is already there gets bit c in ``sources`` and keeps the score of the channel that brought it; a new one
    is added and counts against ``quotas[c]``. The walk ends when the channel has added its quota. Once
    ``limit`` works are there, nothing is added, and a channel only marks what it finds within its first
    ``quotas[c]`` entries. Output order: channel by channel, as found. The order of the channels is therefore
    their priority.

    floors    min(floors[c], n_c) places are kept for each channel; what it leaves of them is filled
              afterwards, by the channels in their order, each from the first work that had no room. So at
              least min(floors[c], n_c) works of channel c are there, those counted that others brought, and
              that are not in ``left_out``.
    left_out  ids that are passed over wherever they stand; they count nowhere
    rows      of each channel that knows them (n_c,) int32: a work keeps that of the channel that brought it;
              else −1

    At most 32 channels; a quota of 0 switches a channel off; 1 ≤ limit < 2³¹. Contiguous int64 / float32
    input is not copied. Raises ValueError for a wrong rank, dtype, length or number, a floor above its quota,
    floors above the limit.
    O(Σ n_c), the GIL is released.
    """

def sole_counts(sources: NDArray[np.uint32], n_channels: int) -> NDArray[np.int64]:
    """(C,): how many works of ``sources (N,)`` have the bit of channel c and no other. O(N), the GIL is
    released."""
