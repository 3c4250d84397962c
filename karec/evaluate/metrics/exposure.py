"""Measures of what lists gave to users and to creators, and how two cascades differ in them, with 95 %
intervals.

A *unit* is what intervals resample: a user with all shown to the user, or a creator with all works of the
creator. A resample is a weight for each unit, the number of times it was drawn; every measure is computed
from sums with these weights. Two cascades on the same units are measured with the same weights, so that their
difference is paired: cascades that did the same differ by exactly 0, with an interval of no width.

Sums     Σ over / Σ per over units, or Σ over where there is no ``per``
Spread   the Gini coefficient of counts of things, each of which belongs to a unit: all units and things
         count, also those with a count of 0

Cost  O(R·(n·M + K log K)) for R resamples, n units, M measures that are sums and K things with a count above
      0; memory
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
from karec.evaluate.metrics.diversity import gini

Told = dict[str, float | tuple[float, float] | None]

THRESHOLDS = (1, 10, 100)  # exposures from which a creator or a work counts as reached


@dataclass(frozen=True, eq=False)
class Sums:
    """``over (n,)`` and ``per (n,)``, one a unit."""

    over: NDArray[Any]
    per: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Spread:
    """``counts (K,)`` of things ≥ 0, ``owner (K,)`` the unit of each."""

    counts: NDArray[Any]
    owner: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Resampled:
    """A measure's ``value``, and ``samples (R,)`` of it in R resamples; NaN where nothing was there to
    measure."""

    value: float
    samples: NDArray[Any]


def daily_counts(day: NDArray[Any], row: NDArray[Any], days: int, n: int) -> NDArray[Any]:
    """(days, n) int64: how often each of ``n`` rows stands in ``row (M,)`` on each ``day (M,)``. O(M +
    days·n)."""
    return np.bincount(np.asarray(day, np.int64) * n + row, minlength=days * n).reshape(days, n)


def resampled(measures: Mapping[str, Sums | Spread], weights: NDArray[Any]) -> dict[str, Resampled]:
    """Each measure under ``weights (R, n)``, of ``accuracy.resampling_weights``.

    Raises ValueError naming a measure whose arrays are not of n units.
    """
    n = weights.shape[1]
    for name, measure in measures.items():
        _check(name, measure, n)
    found = _resampled_sums({name: m for name, m in measures.items() if isinstance(m, Sums)}, weights)
    for name, measure in measures.items():
        if isinstance(measure, Spread):
            value = gini(measure.counts) if np.any(measure.counts) else np.nan
            found[name] = Resampled(value, _ginis(measure, weights))
    return {name: found[name] for name in measures}


def measured(own: Resampled, base: Resampled | None = None) -> Told:
    """``value`` and ``ci``; against ``base`` also ``change`` (own − base), ``relative`` (percent of base) and
    their intervals, ``change_ci`` and ``relative_ci``. None where there is no finite value.
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
    told: Told = {}
    for name, part in parts.items():
        told[name or "value"] = _finite(part.value)
        told[f"{name}_ci" if name else "ci"] = interval_of(part)
    return told


def price(less: Resampled, more: Resampled) -> Told:
    """What each more of ``more`` costs: −``less`` / ``more``, two changes that were resampled on their own.

    ``value`` and ``ci``; both None where ``more`` is not above 0 in the whole of its interval: nothing was
    bought.
    """
    bounds = interval_of(more)
    if not more.value > 0 or bounds is None or bounds[0] <= 0 or not np.isfinite(less.value):
        return {"value": None, "ci": None}
    value = Resampled(-less.value / more.value, -_ratio(less.samples, more.samples))
    return {"value": value.value + 0.0, "ci": interval_of(value)}


def interval_of(part: Resampled) -> tuple[float, float] | None:
    """The 95 % interval; None where there is none."""
    if not np.isfinite(part.value):
        return None
    low, high = bootstrap_interval(part.samples)
    return (low + 0.0, high + 0.0) if np.isfinite(low) else None


def _check(name: str, measure: Sums | Spread, n: int) -> None:
    if isinstance(measure, Spread):
        counts, owner = np.shape(measure.counts), np.shape(measure.owner)
        if counts != owner or len(counts) != 1:
            raise ValueError(f"{name}: counts {counts} and owners {owner}, expected two of shape (K,)")
        if len(measure.owner) and not 0 <= measure.owner.min() <= measure.owner.max() < n:
            raise ValueError(f"{name}: owners {measure.owner.min()} … {measure.owner.max()} for {n} units")
        if len(measure.counts) and measure.counts.min() < 0:
            raise ValueError(f"{name}: counts must be ≥ 0, the least is {measure.counts.min()}")
        return
    for array in (measure.over, measure.per):
        if array is not None and np.shape(array) != (n,):
            raise ValueError(f"{name}: shape {np.shape(array)}, expected ({n},), one a unit")


def _resampled_sums(sums: Mapping[str, Sums], weights: NDArray[Any]) -> dict[str, Resampled]:
    # as many units in every resample
    whole = np.array([sum_.per is None for sum_ in sums.values()], np.float64)
    over, per = np.zeros((2, weights.shape[1], len(sums)))
    for at, sum_ in enumerate(sums.values()):
        over[:, at] = sum_.over
        per[:, at] = 0.0 if sum_.per is None else sum_.per
    drawn = weights.astype(np.float64)
    values = _ratio(over.sum(axis=0), per.sum(axis=0) + whole)
    samples = _ratio(drawn @ over, drawn @ per + whole)
    return {name: Resampled(float(values[at]), samples[:, at]) for at, name in enumerate(sums)}


def _ginis(spread: Spread, weights: NDArray[Any]) -> NDArray[Any]:
    """(R,) Gini coefficients: Σ_i w_i·x_i·(2·W_<i + w_i − W) / (W·Σ w·x), x ascending, W_<i the weight before
    i.

    With integer weights it is ``gini`` of the things repeated w_i times. Things with a count of 0 are summed
    by unit first, so that a resample costs the things above 0 alone.
    """
    zero = np.bincount(spread.owner[spread.counts == 0], minlength=weights.shape[1])
    nothing = weights.astype(np.float64) @ zero
    order = np.argsort(spread.counts, kind="stable")[np.count_nonzero(spread.counts == 0) :]
    x, owner = np.asarray(spread.counts, np.float64)[order], spread.owner[order]
    samples = np.full(len(weights), np.nan)
    for at, drawn in enumerate(weights):
        w = drawn[owner].astype(np.float64)
        upto = nothing[at] + np.cumsum(w)
        mass = w * x
        total = upto[-1] if len(upto) else nothing[at]
        of = total * mass.sum()
        if of > 0:
            samples[at] = (mass * (2.0 * upto - w - total)).sum() / of
    return samples


def _ratio(over: NDArray[Any], per: NDArray[Any]) -> NDArray[Any]:
    """``over / per``; NaN where ``per`` is 0."""
    return np.asarray(np.divide(over, per, out=np.full(np.shape(over), np.nan), where=per != 0))


def _finite(value: float) -> float | None:
    return float(value) + 0.0 if np.isfinite(value) else None
