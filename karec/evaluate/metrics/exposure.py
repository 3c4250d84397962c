"""Measures of the impressions of users and creators, and their paired differences between cascades.

A *unit* is resampled: a user with everything shown to them, or a creator with all their items. A resample is
a weight per unit: how often it was drawn. Measures are computed from sums with these weights. Two cascades on
the same units use the same weights, so their difference is paired: equal cascades differ by exactly 0, with
an interval of width 0.

Sums            Σ over / Σ per over units, or Σ over if there is no ``per``
Concentration   the Gini coefficient of counts of things, each of which belongs to a unit; counts of 0 are
                included

Cost    O(R·(n·M + K log K)) for R resamples, n units, M sums and K things with a count above 0; memory
        O(R·n).
Source  B. Efron, Bootstrap methods, Annals of Statistics 7 (1979): resampling; percentile intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.accuracy import bootstrap_interval

Summary = dict[str, float | tuple[float, float] | None]

THRESHOLDS = (1, 10, 100)  # exposures from which a creator or an item counts as reached


@dataclass(frozen=True, eq=False)
class Sums:
    """``over (n,)`` and ``per (n,)``, one value per unit."""

    over: NDArray[Any]
    per: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Concentration:
    """``counts (K,) ≥ 0`` of things, ``owner (K,)``: the unit of each."""

    counts: NDArray[Any]
    owner: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Resampled:
    """``value`` of a measure and its ``samples (R,)`` in R resamples; NaN if nothing can be measured."""

    value: float
    samples: NDArray[Any]


def gini(counts: NDArray[Any]) -> float:
    """Returns the Gini coefficient Σ_i (2i − N − 1)·x_(i) / (N·Σx), x ascending; 0 if all counts are 0."""
    x = np.sort(np.asarray(counts, np.float64))
    total = x.sum()
    if not len(x) or total == 0:
        return 0.0
    i = np.arange(1, len(x) + 1)
    return float(((2 * i - len(x) - 1) * x).sum() / (len(x) * total))


def daily_counts(day: NDArray[Any], row: NDArray[Any], days: int, n: int) -> NDArray[Any]:
    """Returns (days, n) int64: occurrences of each row in ``row (M,)`` per day. O(M + days·n)."""
    return np.bincount(np.asarray(day, np.int64) * n + row, minlength=days * n).reshape(days, n)


def resample(measures: Mapping[str, Sums | Concentration], weights: NDArray[Any]) -> dict[str, Resampled]:
    """Returns each measure with the weights ``(R, n)`` of ``accuracy.resampling_weights``.

    Raises ValueError with the name of a measure whose arrays are not of n units.
    """
    n = weights.shape[1]
    for name, measure in measures.items():
        _check(name, measure, n)
    results = _resampled_sums({name: m for name, m in measures.items() if isinstance(m, Sums)}, weights)
    for name, measure in measures.items():
        if isinstance(measure, Concentration):
            value = gini(measure.counts) if np.any(measure.counts) else np.nan
            results[name] = Resampled(value, _ginis(measure, weights))
    return {name: results[name] for name in measures}


def summarize(own: Resampled, base: Resampled | None = None) -> Summary:
    """Returns ``value`` and ``ci``, and with ``base`` ``change``, ``relative`` and their intervals.

    ``change`` is own − base, ``relative`` the change in percent of base. None for a value that is not finite.
    """
    if base is None:
        change = relative = Resampled(np.nan, np.empty(0))
    else:
        change = Resampled(own.value - base.value, own.samples - base.samples)
        relative = Resampled(
            100.0 * change.value / base.value if base.value else np.nan,
            100.0 * _ratio(change.samples, base.samples),
        )
    parts = {"": own, "change": change, "relative": relative}
    summary: Summary = {}
    for name, part in parts.items():
        summary[name or "value"] = _finite(part.value)
        summary[f"{name}_ci" if name else "ci"] = confidence_interval(part)
    return summary


def confidence_interval(part: Resampled) -> tuple[float, float] | None:
    """Returns the 95 % interval, or None if it is not finite."""
    if not np.isfinite(part.value):
        return None
    low, high = bootstrap_interval(part.samples)
    return (low + 0.0, high + 0.0) if np.isfinite(low) else None


def _check(name: str, measure: Sums | Concentration, n: int) -> None:
    if isinstance(measure, Concentration):
        counts, owner = np.shape(measure.counts), np.shape(measure.owner)
        if counts != owner or len(counts) != 1:
            raise ValueError(f"{name}: counts {counts} and owners {owner}, expected two of shape (K,)")
        if len(measure.owner) and not 0 <= measure.owner.min() <= measure.owner.max() < n:
            raise ValueError(f"{name}: owners {measure.owner.min()} … {measure.owner.max()} for {n} units")
        if len(measure.counts) and measure.counts.min() < 0:
            raise ValueError(f"{name}: counts have the minimum {measure.counts.min()}, expected at least 0")
        return
    for array in (measure.over, measure.per):
        if array is not None and np.shape(array) != (n,):
            raise ValueError(f"{name}: shape is {np.shape(array)}, expected ({n},), one per unit")


def _resampled_sums(sums: Mapping[str, Sums], weights: NDArray[Any]) -> dict[str, Resampled]:
    # without ``per`` the denominator is 1
    constant = np.array([sum_.per is None for sum_ in sums.values()], np.float64)
    over, per = np.zeros((2, weights.shape[1], len(sums)))
    for column, sum_ in enumerate(sums.values()):
        over[:, column] = sum_.over
        per[:, column] = 0.0 if sum_.per is None else sum_.per
    float_weights = weights.astype(np.float64)
    values = _ratio(over.sum(axis=0), per.sum(axis=0) + constant)
    samples = _ratio(float_weights @ over, float_weights @ per + constant)
    return {name: Resampled(float(values[column]), samples[:, column]) for column, name in enumerate(sums)}


def _ginis(spread: Concentration, weights: NDArray[Any]) -> NDArray[Any]:
    """Returns (R,) Gini coefficients: Σ_i w_i·x_i·(2·W_<i + w_i − W) / (W·Σ w·x), W_<i = Σ of w before i.

    With integer weights this is ``gini`` of the things repeated w_i times. Things with a count of 0 are
    summed by unit first, so a resample costs only the things above 0.
    """
    n_zero = np.bincount(spread.owner[spread.counts == 0], minlength=weights.shape[1])
    zero_weight = weights.astype(np.float64) @ n_zero
    order = np.argsort(spread.counts, kind="stable")[np.count_nonzero(spread.counts == 0) :]
    x, owner = np.asarray(spread.counts, np.float64)[order], spread.owner[order]
    samples = np.full(len(weights), np.nan)
    for index, unit_weights in enumerate(weights):
        w = unit_weights[owner].astype(np.float64)
        weight_until = zero_weight[index] + np.cumsum(w)
        mass = w * x
        total = weight_until[-1] if len(weight_until) else zero_weight[index]
        denominator = total * mass.sum()
        if denominator > 0:
            samples[index] = (mass * (2.0 * weight_until - w - total)).sum() / denominator
    return samples


def _ratio(over: NDArray[Any], per: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.divide(over, per, out=np.full(np.shape(over), np.nan), where=per != 0))


def _finite(value: float) -> float | None:
    return float(value) + 0.0 if np.isfinite(value) else None
