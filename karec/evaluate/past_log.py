"""Events of a log before a moment: the input of the simple methods that pages are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from karec.catalog.dataset import Dataset
from karec.catalog.once import computed_once
from karec.catalog.schema import COMMUNITY

MAX_PROFILE = 1_000  # newest positives of a user that item pairs are counted on; bounds the pairs of one user
MAX_VALUES = 1_000  # categories with more values are ids


@dataclass(frozen=True, eq=False)
class PastLog:
    """E events before a moment, ordered by time.

    user, item       (E,) rows of users and items
    event_ms         (E,) Unix ms, 0 for the lists of items that the dataset starts with
    is_positive      (E,) bool: the user enjoyed the item
    has_impressions  other events are impressions without a positive label; False: all events are positive
    categories       {column of items: (N,) codes, negative if missing}
    time_ms          the moment
    """

    user: NDArray[Any]
    item: NDArray[Any]
    event_ms: NDArray[Any]
    is_positive: NDArray[Any]
    has_impressions: bool
    categories: Mapping[str, NDArray[Any]]
    shape: tuple[int, int]
    time_ms: int

    @classmethod
    def from_dataset(cls, dataset: Dataset, until_ms: int) -> Self:
        """Returns the events before ``until_ms``. Older events are those in the lists of the snapshot."""
        snapshot = dataset.snapshot
        past = dataset.exposures.take(slice(0, int(np.searchsorted(dataset.exposures.time_ms, until_ms))))
        is_positive = snapshot.meaning.is_enjoyed(past.labels)
        if dataset.drawn is not None:
            past, is_positive = past.take(is_positive), is_positive[is_positive]
        users = [snapshot.users.lookup(past.user_id)]
        items = [snapshot.works.lookup(past.work_id)]
        positives = [is_positive]
        for name in ("history", "skipped"):
            lists = snapshot.relations.get(name)
            if lists is not None:
                users.insert(0, np.repeat(np.arange(len(lists)), np.diff(lists.indptr)))
                items.insert(0, snapshot.works.lookup(np.asarray(lists.values)))
                positives.insert(0, np.full(len(lists.values), name == "history"))
        item = np.concatenate(items)
        event_ms = np.zeros(len(item), np.int64)
        event_ms[len(item) - len(past) :] = past.time_ms
        is_known = item >= 0
        return cls(
            user=np.concatenate(users)[is_known],
            item=item[is_known],
            event_ms=event_ms[is_known],
            is_positive=np.concatenate(positives)[is_known],
            has_impressions=dataset.drawn is None,
            categories=_categories(snapshot.works.columns),
            shape=(len(snapshot.users), len(snapshot.works)),
            time_ms=until_ms,
        )

    def counts(self, selected: NDArray[Any]) -> csr_array:
        """Returns (users, items) float32: the number of the ``selected`` (E,) events of each pair."""
        ones = np.ones(int(selected.sum()), np.float32)
        return csr_array((ones, (self.user[selected], self.item[selected])), self.shape)

    @computed_once
    def taken(self) -> csr_array:
        """(users, items) float32: how often the user enjoyed the item."""
        return self.counts(self.is_positive)

    @computed_once
    def shown(self) -> csr_array:
        """(users, items) float32: the number of events."""
        return self.counts(np.ones(len(self.user), bool))

    @computed_once
    def profiles(self) -> csr_array:
        """(users, items) float32, 1 for each of the user's MAX_PROFILE newest enjoyed items."""
        places = np.flatnonzero(self.is_positive)
        order = places[np.argsort(self.user[places], kind="stable")]
        ends = np.cumsum(np.bincount(self.user[order], minlength=self.shape[0]))
        is_new = ends[self.user[order]] - np.arange(len(order)) <= MAX_PROFILE
        selected = np.zeros(len(self.user), bool)
        selected[order[is_new]] = True
        profiles = self.counts(selected)
        profiles.data[:] = 1.0
        return profiles


def _categories(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the integer columns with 2 to MAX_VALUES values, as codes from 0; −1: missing."""
    categories = {}
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind != "i" or name.endswith("_ms") or name == COMMUNITY:
            continue
        values, codes = np.unique(np.maximum(column, -1), return_inverse=True)
        n_missing = int(values[0] == -1) if len(values) else 0
        if 2 <= len(values) - n_missing <= MAX_VALUES:
            categories[name] = codes - n_missing
    return categories
