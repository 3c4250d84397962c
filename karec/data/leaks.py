"""Finds columns of items that were computed after the log, such as the number of items sold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_ITEMS = 50
MIN_CORRELATION = 0.2  # lower end of the 95 % interval; prices reach 0.1, numbers of sold items 0.5
MIN_NUMBERS = 10  # distinct values of a category; with fewer, numbers are codes


def leak_notes(
    columns: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]], item: NDArray[Any]
) -> list[str]:
    """Returns a line for each numeric column that predicts the events of the last tenth of the log.

    Args:
        columns: (I,) columns of items.
        names: Names of category codes by column.
        item: (M,) rows of the items of positive events, ordered by time.
    """
    ends = int(0.8 * len(item)), int(0.9 * len(item))
    if not columns:
        return []
    n_items = len(next(iter(columns.values())))
    counts = [np.bincount(part, minlength=n_items) for part in np.split(item, ends)]
    is_known = counts[0] + counts[1] > 0
    notes = []
    for name, column in columns.items():
        numbers = _numbers(column, names.get(name))
        if numbers is None:
            continue
        rows = is_known & np.isfinite(numbers)
        if rows.sum() < MIN_ITEMS or np.ptp(numbers[rows]) == 0:
            continue
        early, recent, late = (count[rows] for count in counts)
        correlation = _partial_correlation(numbers[rows], late, (early, recent))
        if np.arctanh(abs(correlation)) - 1.96 / np.sqrt(rows.sum() - 5) > np.arctanh(MIN_CORRELATION):
            notes.append(
                f"items: the column {name!r} predicts the events of the last tenth of the log beyond earlier "
                f"events (correlation {correlation:.2f}): if it was computed after the log, add it to ignore"
            )
    return notes


def _numbers(column: NDArray[Any], names: Sequence[str] | None) -> NDArray[Any] | None:
    """Returns the numbers of a column, NaN if missing; None for vectors, ids, and categories that are not
    numbers."""
    if column.ndim == 2:
        return None
    if column.dtype.kind == "f":
        return column.astype(np.float64)
    if names is None or len(names) < MIN_NUMBERS:
        return None
    try:
        numbers: NDArray[Any] = np.array([*map(float, names), np.nan])[column]
        return numbers
    except ValueError:
        return None


def _partial_correlation(x: NDArray[Any], y: NDArray[Any], controls: Sequence[NDArray[Any]]) -> float:
    """Returns Spearman's correlation of ``x`` and ``y`` given the controls, all (N,)."""
    base = np.stack([np.ones(len(x)), *map(_ranks, controls)], axis=1)
    residuals = [
        _ranks(values) - base @ np.linalg.lstsq(base, _ranks(values), rcond=None)[0] for values in (x, y)
    ]
    norm = np.sqrt((residuals[0] ** 2).sum() * (residuals[1] ** 2).sum())
    return float(np.clip(residuals[0] @ residuals[1] / norm, -0.999, 0.999)) if norm > 0 else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[Any]:
    """Returns the mean rank of each value."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2)[inverse])
