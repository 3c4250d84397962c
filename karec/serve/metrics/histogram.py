"""Latencies in bins of equal ratio: four to an octave from 0.05 ms to 6.6 s, so that a quantile is within 9
%."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.pipeline.types import Array

PER_OCTAVE = 4
EDGES_MS: Array = 0.05 * 2.0 ** (np.arange(17 * PER_OCTAVE + 1) / PER_OCTAVE)
# bin i holds EDGES[i − 1] < ms ≤ EDGES[i]; the first has no lower edge, the last no upper
BINS = len(EDGES_MS) + 1


def bins_of(ms: Array) -> Array:
    """(N,) int64: the bin of each time."""
    return np.searchsorted(EDGES_MS, ms, side="left")


def quantiles(counts: Array, wanted: Sequence[float]) -> list[float | None]:
    """Of ``counts (BINS,)``, which need not be whole: the times in ms below which these shares lie,
    interpolated within their bins by ratio. None where nothing was counted; what lies beyond the last edge is
    told as that edge.
    """
    upto = np.cumsum(counts)
    if not upto[-1] > 0:
        return [None] * len(wanted)
    found: list[float | None] = []
    for share in wanted:
        target = share * upto[-1]
        at = min(int(np.searchsorted(upto, target, side="left")), BINS - 1)
        if at in (0, BINS - 1):
            found.append(float(EDGES_MS[min(at, BINS - 2)]))
            continue
        within = (target - upto[at - 1]) / counts[at]
        found.append(float(EDGES_MS[at - 1] * 2.0 ** (within / PER_OCTAVE)))
    return found


def cumulated(counts: Array, each: int) -> list[tuple[str, float]]:
    """[(upper edge in seconds, how many are at most that)] of each ``each``-th edge, and "+Inf"."""
    upto = np.cumsum(counts)
    edges = [(f"{EDGES_MS[at] / 1e3:.6g}", float(upto[at])) for at in range(0, BINS - 1, each)]
    return [*edges, ("+Inf", float(upto[-1]))]
