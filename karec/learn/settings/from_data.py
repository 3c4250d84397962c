"""Rules for the settings that depend on the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from karec.catalog.dataset import Dataset
from karec.catalog.schema import CREATOR, is_counter

LONG_HISTORY_VALUES: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"batch_size": 512, "learning_rate": 2e-3},
    "ranker": {"epochs": 2},
    "towers": {"epochs": 3},
    "distil": {"lists_per_step": 32},
}
"""{table: {key: value}} if histories are long, for keys with their defaults. They make a step more
expensive; twice the rows in half of the steps learn the same in fewer epochs."""
SMALL_LOG_VALUES: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"batch_size": 1024, "learning_rate": 4e-3},
    "towers": {"epochs": 2},
    "distil": {"lists_per_step": 32},
    "shadow": {"at_most": 2000},
}
"""{table: {key: value}} of a small log with long histories, for keys with their defaults. For a shop of
122,000 rows the mean AUC of towers on validation is 0.748 instead of 0.753, in half of the time."""
MIN_LONG_HISTORY = 10  # items that a user has enjoyed
HISTORY_LENGTH, LONG_HISTORY_LENGTH = 30, 100  # last items that models see
ITEMS_PER_VALUE = 2.0
MIN_COUNT, MIN_COUNT_ROWS = 20, 1_000_000
SMALL_ROWS = 1_000_000  # training rows; below, pages of lr are better (notebook/2026-11-30-own-data.md)
SMALL_MIN_COUNT = 2


class Rule(NamedTuple):
    """A setting that the data decided, for run.json."""

    setting: str
    value: Any
    reason: str


def has_long_histories(dataset: Dataset) -> bool:
    """Returns True if models see more items of a user: histories are long, and creators have several items.

    The users of half of the training rows have enjoyed MIN_LONG_HISTORY items or more by the end of
    the training days. The shown items are ITEMS_PER_VALUE or more per creator, or per value of another
    category.
    """
    return median_history(dataset) >= MIN_LONG_HISTORY and items_per_value(dataset) >= ITEMS_PER_VALUE


def min_count(rows: int) -> int:
    """Returns the training rows that a value needs for its own embedding. A small log needs SMALL_MIN_COUNT,
    a larger one MIN_COUNT · √max(1, rows / MIN_COUNT_ROWS).

    A column has at most rows/min_count embeddings: 50,000 for 10⁶ rows and 500,000 for 10⁸, with 200 rows
    each. With one count for every size models would be as large as the log.
    """
    if rows < SMALL_ROWS:
        return SMALL_MIN_COUNT
    return round(MIN_COUNT * math.sqrt(max(1.0, rows / MIN_COUNT_ROWS)))


def median_history(dataset: Dataset) -> float:
    """Returns the median over training rows of the items that the user has enjoyed by the end of training."""
    snapshot, train = dataset.snapshot, dataset.split()[0]
    rows = snapshot.users.lookup(train.user_id)
    known = rows >= 0
    if not known.any():
        return 0.0
    enjoyed = snapshot.meaning.is_enjoyed(train.labels)[known]
    length = np.bincount(rows[known][enjoyed], minlength=len(snapshot.users))
    history = snapshot.relations.get("history")
    if history is not None:
        length = length + np.diff(history.indptr)
    return float(np.median(length[rows[known]]))


def items_per_value(dataset: Dataset) -> float:
    """Returns the distinct items per creator that were shown on the training days.

    Without creators: per value of the category with the fewest values; 0 without categories.
    """
    items = dataset.snapshot.works
    rows = np.unique(items.lookup(dataset.split()[0].work_id))
    rows = rows[rows >= 0]
    categories = [
        name
        for name, column in items.columns.items()
        if column.dtype.kind in "iub" and not name.endswith("_ms") and not is_counter(name)
    ]
    names = [CREATOR] if CREATOR in items.columns else categories
    return max((len(rows) / max(len(np.unique(items[name][rows])), 1) for name in names), default=0.0)
