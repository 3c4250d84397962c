"""Numbers of model inputs, as ``native/src/features/numbers.hpp`` defines them, in NumPy.

The same operations in the same order, each rounded as IEEE 754 says: the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels.portable.arrays import Float32, Float64, dims_of, float32_input, float64_input, int64_input

HOUR_MS = 3_600_000.0
PRIOR_WEIGHT = 10.0
LOG_COUNT_SCALE = np.float32(0.25)
LN2_HIGH, LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
PIECE = 1 << 14  # rows at once, so that what lies between counters and numbers stays in the cache


def log1p(values: ArrayLike) -> Float64:
    x = float64_input(values, "values", ("N",))
    with np.errstate(all="ignore"):
        sums = 1.0 + x
        plain = (sums > 0.0) & (sums < np.inf)
        return np.where(plain, _log(sums) + (x - (sums - 1.0)) / sums, _log(sums))


def _log(x: NDArray[np.float64]) -> Float64:
    """ln of any double: artanh's series, as ``native/src/base/fixed_math.hpp`` sums it."""
    m, exponent = np.frexp(x)
    low = m < 0.70710678118654752
    m, exponent = np.where(low, m * 2.0, m), exponent - low
    s = (m - 1.0) / (m + 1.0)
    s2, total = s * s, np.zeros_like(x)
    for odd in range(23, 2, -2):
        total = (total + 1.0 / odd) * s2
    found = exponent * LN2_HIGH + (exponent * LN2_LOW + 2.0 * (s + s * total))
    return np.select([x == 0.0, x == np.inf, ~(x > 0.0)], [-np.inf, np.inf, np.nan], found)


def log_hours(moments: ArrayLike, time_ms: ArrayLike) -> Float64:
    given = int64_input(moments, "moments", ("N",))
    times = int64_input(time_ms, "time_ms", (len(given),))
    hours = log1p(np.maximum(times - given, 0) / HOUR_MS)
    return np.where(given > 0, hours, np.nan)


def scaled(values: ArrayLike, log: bool, mean: float, scale: float) -> Float32:
    x = float64_input(values, "values", ("N",))
    if not np.isfinite(mean):
        raise ValueError(f"mean must be finite, got {mean:f}")
    if not 0.0 < scale < np.inf:
        raise ValueError(f"scale must be positive and finite, got {scale:f}")
    if log:
        x = log1p(np.where(x < 0.0, 0.0, x))
    with np.errstate(all="ignore"):
        found = (x - mean) / scale
    return np.clip(np.where(np.isnan(found), 0.0, found), -8.0, 8.0).astype(np.float32)


def counter_numbers(counts: ArrayLike, priors: ArrayLike) -> Float32:
    given = float32_input(counts, "counts", ("N", "C"))
    labels = max(given.shape[1] - 1, 0)
    by_row = len(dims_of(priors)) == 2
    rates = float64_input(priors, "priors", (len(given), labels) if by_row else (labels,))
    numbers = np.empty(given.shape, np.float32)
    for begin in range(0, len(given) if given.shape[1] else 0, PIECE):
        rows = slice(begin, begin + PIECE)
        numbers[rows] = _counter_numbers(given[rows].astype(np.float64), rates[rows] if by_row else rates)
    return numbers


def _counter_numbers(counts: Float64, priors: Float64) -> Float32:
    exposed, positives = counts[:, :1], counts[:, 1:]
    numbers = np.empty(counts.shape, np.float32)
    with np.errstate(all="ignore"):
        others = exposed - positives
        negatives = np.where(others < 0.0, 0.0, others)
        odds = (positives / priors + PRIOR_WEIGHT) / (negatives / (1.0 - priors) + PRIOR_WEIGHT)
        numbers[:, 0] = log1p(exposed[:, 0]).astype(np.float32) * LOG_COUNT_SCALE
        numbers[:, 1:] = _log(odds)
    return numbers
