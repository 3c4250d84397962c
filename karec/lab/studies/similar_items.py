"""Measures how many of the items that a user enjoys later are in a list of 20 similar items.

The query is the first item that a user enjoys on the validation and test days, and the truth is the user's
other ones. All methods learn from the training days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.metrics.retrieval import recall_at, top_columns
from karec.evaluate.past_log import PastLog
from karec.evaluate.simple_methods import fit_popularity, similar_by_counts
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.learn.fit.cowatch import fit_cowatch

K, MAX_USERS, RESAMPLES = 20, 3_000, 200
OURS = "ALS factors (similar)"
ItemScorer = Callable[[NDArray[Any]], NDArray[Any]]
"""Returns (B, N) scores of all items for item rows (B,)."""


def compare_similar_items(dataset: Dataset, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Returns {method: {recall, recall_ci, gain, gain_ci}}; ``gain``: recall of ``OURS`` minus its own."""
    users, query, held_user, held_item = _queries(dataset, seed)
    recalls = {}
    for name, scorer in _scorers(dataset, seed).items():
        pages = []
        for begin in range(0, len(query), 256):
            rows = query[begin : begin + 256]
            pages.append(top_columns(scorer(rows), rows[:, None], K))
        recalls[name] = recall_at(np.concatenate(pages), held_user, held_item, K)
    bootstrap = UserBootstrap(users, RESAMPLES, seed)
    table = {}
    for name, recall in recalls.items():
        value = bootstrap.mean_with_interval(recall)
        gain = bootstrap.mean_with_interval(recalls[OURS] - recall)
        table[name] = {"recall": value["value"], "recall_ci": value["ci"]}
        table[name] |= {"gain": gain["value"], "gain_ci": gain["ci"]}
    return table


def similar_items_table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            name,
            format_measure(values["recall"], values["recall_ci"]),
            format_measure(values["gain"], values["gain_ci"], signed=True),
        )
        for name, values in measured.items()
    ]
    return Table("Similar items on the later days", ("", f"recall@{K}", f"{OURS} above it, paired"), rows)


def _queries(dataset: Dataset, seed: int) -> tuple[NDArray[Any], ...]:
    """Returns users (U,) with two later items, the first one (U,), and places of user and other items."""
    snapshot = dataset.snapshot
    later = dataset.exposures.take(dataset.exposures.time_ms >= dataset.train_until_ms)
    later = later.take(snapshot.meaning.is_enjoyed(later.labels))
    user, item = snapshot.users.lookup(later.user_id), snapshot.works.lookup(later.work_id)
    _, first = np.unique(np.stack([user, item]), axis=1, return_index=True)
    first = np.sort(first[(user[first] >= 0) & (item[first] >= 0)])  # by time
    user, item = user[first], item[first]
    several = np.flatnonzero(np.bincount(user) > 1)
    users = np.sort(np.random.default_rng(seed).permutation(several)[:MAX_USERS])
    if not len(users):
        raise DataError("no user enjoyed two items on the validation and test days")
    is_chosen = np.isin(user, users)
    user, item = np.searchsorted(users, user[is_chosen]), item[is_chosen]
    query = np.unique(user, return_index=True)[1]
    is_held = ~np.isin(np.arange(len(user)), query)
    return users, item[query], user[is_held], item[is_held]


def _scorers(dataset: Dataset, seed: int) -> dict[str, ItemScorer]:
    cowatch = fit_cowatch(dataset, seed)
    if cowatch is None or cowatch.als is None:
        raise DataError("too few items have enough users who enjoyed them")
    codes = cowatch.codes(np.asarray(dataset.snapshot.works.ids))
    factors, cosines = cowatch.als.vectors[0][codes], cowatch.vectors[codes]
    log = PastLog.from_dataset(dataset, dataset.train_until_ms)
    popular, similar = fit_popularity(log), similar_by_counts(log.profiles, 100, 10.0)
    return {
        OURS: lambda rows: factors[rows] @ factors.T,
        "item-kNN": lambda rows: similar[rows].toarray(),
        "co-watch cosine": lambda rows: cosines[rows] @ cosines.T,
        "popularity": popular,
    }
