"""Rules for the settings that depend on the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from karec.catalog.dataset import Dataset
from karec.catalog.schema import CREATOR

MATCHING_VALUES: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"batch_size": 512, "learning_rate": 2e-3},
    "ranker": {"epochs": 2},
    "towers": {"epochs": 3},
    "distil": {"lists_per_step": 32},
}
"""{table: {key: value}} of matching towers, for keys with their defaults. Longer histories make a step more
expensive; twice the rows in half of the steps learn the same in fewer epochs."""
LONG_HISTORY = 10  # items
HISTORY, MATCHED_HISTORY = 30, 100  # last items that models see
WORKS_PER_CREATOR = 2.0
MIN_COUNT, MIN_COUNT_ROWS = 20, 1_000_000
SMALL_ROWS = 500_000  # training rows; a log below is small
SMALL_MIN_COUNT = 2


class Rule(NamedTuple):
    """A setting that the data decided."""

    setting: str
    value: Any
    reason: str


def matching_helps(dataset: Dataset) -> bool:
    """Returns True if towers match by default: histories are long, and creators have several works.

    The users of half of the training rows have enjoyed LONG_HISTORY items or more by the end of the training
    days. The shown works have WORKS_PER_CREATOR works or more per creator.
    """
    return median_history(dataset) >= LONG_HISTORY and works_per_creator(dataset) >= WORKS_PER_CREATOR


def history_length(matching: bool) -> int:
    """Returns the number of last items that models see. Matching towers gain from more at low cost."""
    return MATCHED_HISTORY if matching else HISTORY


def min_count(rows: int) -> int:
    """Returns the training rows that a value needs for its own embedding: SMALL_MIN_COUNT for a small log;
    MIN_COUNT, above MIN_COUNT_ROWS rows times the root of their ratio.

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


def works_per_creator(dataset: Dataset) -> float:
    """Returns the distinct works per creator that were shown on the training days; 0 without creators."""
    works = dataset.snapshot.works
    if CREATOR not in works.columns:
        return 0.0
    rows = np.unique(works.lookup(dataset.split()[0].work_id))
    rows = rows[rows >= 0]
    return len(rows) / max(len(np.unique(np.asarray(works[CREATOR])[rows])), 1)
