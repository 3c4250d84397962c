"""What settings leave to the data, by rules that the data's sizes decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from karec.catalog.dataset import Dataset
from karec.catalog.schema import CREATOR

OF_MATCHING: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"batch_size": 512, "learning_rate": 2e-3},
    "ranker": {"epochs": 2},
    "towers": {"epochs": 3},
    "distil": {"lists_per_step": 32},
}
"""By table, what a training takes where towers match by the rule below and the settings leave a key at its
default: longer histories make a step dearer, and twice the rows in half of the steps learn the same in fewer
passes."""
LONG_HISTORY = 10  # works
HISTORY, MATCHED_HISTORY = 30, 100  # last works that models see
WORKS_A_CREATOR = 2.0
MIN_COUNT, MIN_COUNT_ROWS = 20, 1_000_000


def matching_helps(dataset: Dataset) -> bool:
    """Whether towers match by default: histories are long, and what they hold tells of other works.

    Of half of the training rows the user has enjoyed LONG_HISTORY works or more by the end of the training
    days, and the works shown have creators with WORKS_A_CREATOR works or more on average, so that a creator
    stands again.
    """
    return median_history(dataset) >= LONG_HISTORY and works_a_creator(dataset) >= WORKS_A_CREATOR


def history_length(matching: bool) -> int:
    """How many last works of a user models see: matching towers gain by more of them, at hardly any cost."""
    return MATCHED_HISTORY if matching else HISTORY


def min_count(rows: int) -> int:
    """Training rows that a value needs for an embedding of its own, of ``rows`` in all: MIN_COUNT of up to
    MIN_COUNT_ROWS, then as the root of ``rows``.

    A column has rows/min_count embeddings at most: 50,000 of 10⁶ rows and 500,000 of 10⁸, where each has 200
    rows to learn from. With the same count for every size models would be as large as the log.
    """
    return round(MIN_COUNT * math.sqrt(max(1.0, rows / MIN_COUNT_ROWS)))


def median_history(dataset: Dataset) -> float:
    """The median over the training rows of how many works their user has enjoyed when the training days
    end."""
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


def works_a_creator(dataset: Dataset) -> float:
    """Different works for each creator among those shown on the training days; 0 where works have no
    creators."""
    works = dataset.snapshot.works
    if CREATOR not in works.columns:
        return 0.0
    rows = np.unique(works.lookup(dataset.split()[0].work_id))
    rows = rows[rows >= 0]
    return len(rows) / max(len(np.unique(np.asarray(works[CREATOR])[rows])), 1)
