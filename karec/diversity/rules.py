"""Rules on the order of a list. The work is done in C++, without the GIL, on one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library
from karec.kernels.option_values import positive_or_none, whole


@dataclass(frozen=True)
class ScatterRule:
    """Among any ``window`` neighbours at most ``max_count`` have the same value of ``column``.

    ``ScatterRule("song_id")``: no two works in a row of one song. 1 ≤ max_count < window.
    """

    column: str
    window: int = 2
    max_count: int = 1


@dataclass(frozen=True)
class ScatterViolation:
    """At ``position`` of the result ``rule`` does not hold: its item is number ``count`` of its value in the
    window."""

    position: int
    rule: ScatterRule
    count: int


@dataclass(frozen=True, eq=False)
class ScatterResult:
    """``indices`` int64: what ``order`` holds, rearranged. ``violations``: what could not be kept, by
    position."""

    indices: NDArray[np.int64]
    violations: tuple[ScatterViolation, ...]


def scatter(
    order: ArrayLike,
    columns: Mapping[str, ArrayLike],
    rules: Sequence[ScatterRule],
    k: int | None = None,
    shown: Mapping[str, ArrayLike] | None = None,
) -> ScatterResult:
    """The first ``k`` of ``order`` (None = all), rearranged so that the rules hold, changed as little as
    greedy needs.

    order    (n,) int64, distinct indices into the columns, best first; with k = None each comes out exactly
             once
    columns  {name: (N,) integers}, one for each rule's column
    shown    {name: (M,) integers}, what the session saw before the list, oldest first: windows reach back
             into it, so that a long one is a frequency for the session

    Each place takes the first remaining item that breaks no rule; where every remaining item breaks one, the
    item that breaks them least. A value that is left so often that skipping it once more would not fit it
    into the places that follow goes first: for one rule of window 2 and max_count 1, no order violates it
    less often. With more rules or wider windows each value is looked at alone, and more may be violated than
    need be.

    ValueError: an index that is out of range or stands twice, a rule's column that is missing or not integer,
    1 ≤ max_count < window not met, k ≤ 0. O(n·rules) for a list that seldom breaks a rule, O(n·k·rules) at
    worst.
    """
    positions = np.asarray(order)
    if positions.ndim != 1 or (positions.dtype.kind not in "iu" and positions.size):
        raise ValueError(
            f"order has shape {positions.shape} and dtype {positions.dtype}, expected (n,) int64"
        )
    k = positive_or_none("k", k)
    positions = positions.astype(np.int64, copy=False)
    values, repeats = np.unique(positions, return_counts=True)
    if (repeats > 1).any():
        raise ValueError(
            f"order must not repeat an index, {values[repeats > 1][0]} stands {repeats.max()} times"
        )
    n = len(positions)
    native_rules = [
        (
            _values(positions, rule.column, columns),
            whole("window", rule.window),
            whole("max_count", rule.max_count),
            _shown(rule.column, shown),
        )
        for rule in rules
    ]
    places, violations = library.scatter(n, native_rules, n if k is None else min(k, n))
    return ScatterResult(
        positions[places],
        tuple(ScatterViolation(position, rules[rule], count) for position, rule, count in violations),
    )


def _values(positions: NDArray[np.int64], name: str, columns: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
    if name not in columns:
        raise ValueError(f"a rule asks for column {name!r}; there are {sorted(columns)}")
    column = np.asarray(columns[name])
    if column.ndim != 1 or (column.dtype.kind not in "iub" and column.size):
        raise ValueError(
            f"column {name!r} has shape {column.shape} and dtype {column.dtype}, expected (N,) integers"
        )
    outside = positions[(positions < 0) | (positions >= len(column))]
    if len(outside):
        raise ValueError(f"order holds {outside[0]}, column {name!r} has {len(column)} rows")
    return column[positions].astype(np.int64, copy=False)


def _shown(name: str, shown: Mapping[str, ArrayLike] | None) -> NDArray[np.int64]:
    if shown is None:
        return np.empty(0, np.int64)
    if name not in shown:
        raise ValueError(f"a rule asks for column {name!r}; shown has {sorted(shown)}")
    column = np.asarray(shown[name])
    if column.ndim != 1 or (column.dtype.kind not in "iub" and column.size):
        raise ValueError(
            f"shown {name!r} has shape {column.shape} and dtype {column.dtype}, expected (M,) integers"
        )
    return column.astype(np.int64, copy=False)
