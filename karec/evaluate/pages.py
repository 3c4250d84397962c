"""Pages on held-out days: requests, simple methods tuned on earlier days, measures and their comparison.

A user gets one page just before their first event of the held-out days. All pages use the events
before these days and the items published by then, and leave out what the user owned. Held-out
items are those that the user enjoyed during these days and did not own before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from karec.aggregates.advance import advance
from karec.catalog.dataset import Dataset
from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval, resampling_weights
from karec.evaluate.metrics.retrieval import ndcg_at, recall_at, top_columns
from karec.evaluate.past_log import PastLog
from karec.evaluate.simple_methods import METHODS, Scorer, SimpleMethod
from karec.times import Progress

K = 20  # items of a page
MAX_USERS = 2_000
MAX_TUNING_S = 10.0  # processor time of one method; a setting that was started is finished
MAX_SCORES = 16_000_000  # in memory at once: 64 MB
OWNED = "consumed"  # relation of the items that a user owns
MEASURES = ("recall", "ndcg", "hit_rate", "owned")
DECIDING = "ndcg"  # measure that chooses settings
COMPARED = (DECIDING, "recall")  # measures by which a row can be ahead of the whole page


@dataclass(frozen=True, eq=False)
class PageRequests:
    """Requests of U users for a page of K items, and the items that they enjoyed afterwards.

    start_ms         start of the held-out days; pages use the events before it
    users (U,)       rows of users
    time_ms (U,)     each user's first event of the held-out days
    held_user (P,)   places in ``users``
    held_item (P,)   rows of held-out items; each pair once
    owned            (U, N) items that the user owned
    is_published     (N,) bool
    is_new (N,)      no user had enjoyed the item before ``start_ms``
    is_warm (U,)     the user had enjoyed an item before ``start_ms``
    """

    start_ms: int
    users: NDArray[Any]
    time_ms: NDArray[Any]
    held_user: NDArray[Any]
    held_item: NDArray[Any]
    owned: csr_array
    is_published: NDArray[Any]
    is_new: NDArray[Any]
    is_warm: NDArray[Any]

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, start_ms: int, end_ms: int | None = None, *, seed: int = 0
    ) -> Self:
        """Returns requests of at most MAX_USERS users with held-out items, sampled with ``seed``."""
        exposures, snapshot = dataset.exposures, dataset.snapshot
        time_ms = exposures.time_ms
        bounds = (start_ms, time_ms[-1] + 1 if end_ms is None else end_ms)
        later = exposures.take(slice(*np.searchsorted(time_ms, bounds).tolist()))
        is_published = snapshot.published_ms <= start_ms
        owned = _to_matrix(advance(snapshot, exposures, start_ms).relations.get(OWNED), dataset)
        user, item = snapshot.users.lookup(later.user_id), snapshot.works.lookup(later.work_id)
        is_held = snapshot.meaning.is_enjoyed(later.labels) & is_published[item]
        pairs = np.unique(np.stack([user[is_held], item[is_held]]), axis=1)
        pairs = pairs[:, ~np.asarray(owned[pairs[0], pairs[1]] > 0)] if pairs.size else pairs
        users = np.unique(pairs[0])
        users = np.sort(np.random.default_rng(seed).permutation(users)[:MAX_USERS])
        pairs = pairs[:, np.isin(pairs[0], users)]
        event_users, first = np.unique(user, return_index=True)
        past = PastLog.from_dataset(dataset, start_ms)
        return cls(
            start_ms,
            users,
            later.time_ms[first[np.searchsorted(event_users, users)]],
            np.searchsorted(users, pairs[0]),
            pairs[1],
            owned[users],
            is_published,
            past.taken.sum(axis=0) == 0,
            past.taken[users].sum(axis=1) > 0,
        )

    def __len__(self) -> int:
        return len(self.users)

    def groups(self) -> dict[str, tuple[PageRequests, NDArray[Any]]]:
        """Returns {group: (requests, places of its users)} of the groups that have users.

        The group ``new items`` has only the held-out items that are new, and the users who have such items.
        """
        is_new = self.is_new[self.held_item]
        new = replace(self, held_user=self.held_user[is_new], held_item=self.held_item[is_new])
        groups = {
            "all": (self, np.arange(len(self))),
            "warm": (self, np.flatnonzero(self.is_warm)),
            "cold": (self, np.flatnonzero(~self.is_warm)),
            "new items": (new, np.unique(new.held_user)),
        }
        return {name: group for name, group in groups.items() if len(group[1])}

    def make_pages(self, scorer: Scorer) -> NDArray[Any]:
        """Returns (U, K) item rows, best first, padded with −1. ``scorer`` is called with user rows."""
        pages = [np.empty((0, K), np.int64)]
        size = max(MAX_SCORES // max(len(self.is_published), 1), 1)
        for begin in range(0, len(self), size):
            scores = np.array(scorer(self.users[begin : begin + size]), np.float32)
            scores[:, ~self.is_published] = -np.inf
            scores[self.owned[begin : begin + size].tocoo().coords] = -np.inf
            pages.append(top_columns(scores, np.empty((len(scores), 0), np.int64), K))
        return np.concatenate(pages)

    def measure(self, pages: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns {measure: (U,)} of ``pages (U, K)`` with item rows, padded with −1."""
        user, place = np.nonzero(pages >= 0)
        n_owned = np.bincount(user, self.owned[user, pages[user, place]] > 0, minlength=len(self))
        recall = recall_at(pages, self.held_user, self.held_item, K)
        return {
            "recall": recall,
            "ndcg": ndcg_at(pages, self.held_user, self.held_item, K),
            "hit_rate": (recall > 0).astype(np.float64),
            "owned": n_owned / np.maximum((pages >= 0).sum(axis=1), 1),
        }

    def score(self, scorer: Scorer) -> float:
        """Returns the mean of the deciding measure over users, by which settings are chosen."""
        return float(self.measure(self.make_pages(scorer))[DECIDING].mean())


def page_rows(works: Table, item_ids: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Returns pages (U, K) of item rows for the ids of at most K items each, padded with −1."""
    pages = np.full((len(item_ids), K), -1, np.int64)
    for page, ids in zip(pages, item_ids, strict=True):
        page[: len(ids)] = works.lookup(np.array(ids, np.int64))
    return pages


def validation_requests(dataset: Dataset, seed: int = 0) -> PageRequests:
    """Returns requests on the validation days; pages use only earlier events."""
    return PageRequests.from_dataset(dataset, dataset.train_until_ms, dataset.valid_until_ms, seed=seed)


def simple_pages(
    dataset: Dataset, requests: PageRequests, progress: Progress | None = None, seed: int = 0
) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, Any]]]:
    """Returns ({method: pages (U, K)}, {method: parameters, numbers of settings and seconds}).

    Each method is tuned on the validation days, then fitted on all events before ``requests``.
    """
    earlier = validation_requests(dataset, seed)
    earlier_log = PastLog.from_dataset(dataset, earlier.start_ms)
    log = PastLog.from_dataset(dataset, requests.start_ms)
    pages, facts = {}, {}
    for done, (name, method) in enumerate(METHODS.items()):
        if progress is not None:
            progress(done, len(METHODS), "simple methods")
        started = time.perf_counter()
        grid = method.grid(earlier_log)
        if not grid:
            continue
        parameters, n_tried = _tune(method, grid, earlier, earlier_log)
        pages[name] = requests.make_pages(method.fit(log, **parameters))
        facts[name] = {
            "parameters": dict(parameters),
            "tried": n_tried,
            "settings": len(grid),
            "seconds": time.perf_counter() - started,
        }
    return pages, facts


def _tune(
    method: SimpleMethod, grid: Any, requests: PageRequests, log: PastLog
) -> tuple[Mapping[str, Any], int]:
    """Returns the parameters with the best score within MAX_TUNING_S, and the number of those tried."""
    if len(grid) == 1 or not len(requests):
        return grid[0], 0
    started = time.process_time()
    scores: list[float] = []
    for parameters in grid:
        scores.append(requests.score(method.fit(log, **parameters)))
        if time.process_time() - started > MAX_TUNING_S:
            break
    return grid[int(np.argmax(scores))], len(scores)


def page_table(
    requests: PageRequests, pages: Mapping[str, NDArray[Any]], resamples: int = 200, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns {row: {group: {measure: {value, ci}}}} with 95 % intervals over the users of a group.

    Groups: see ``PageRequests.groups``. ``coverage`` is the fraction of published items on the group's pages.
    """
    table: dict[str, dict[str, dict[str, Any]]] = {row: {} for row in pages}
    n_items = max(int(requests.is_published.sum()), 1)
    for group, (held, places) in requests.groups().items():
        bootstrap = UserBootstrap(places, resamples, seed)
        is_drawn = resampling_weights(len(places), resamples, seed) > 0
        for row, page in pages.items():
            measures = held.measure(page)
            table[row][group] = {
                name: bootstrap.mean_with_interval(measures[name][places]) for name in MEASURES
            }
            table[row][group]["coverage"] = _coverage(page[places], is_drawn, n_items)
    return table


def compare_rows(
    requests: PageRequests,
    pages: Mapping[str, NDArray[Any]],
    row: str,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns {measure of COMPARED: {other row: {value, ci}}}: how far it is above ``row``, paired."""
    bootstrap = UserBootstrap(requests.users, resamples, seed)
    own = requests.measure(pages[row])
    others = {other: requests.measure(page) for other, page in pages.items() if other != row}
    return {
        name: {
            other: bootstrap.mean_with_interval(measures[name] - own[name])
            for other, measures in others.items()
        }
        for name in COMPARED
    }


def best_ahead(differences: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[str, str] | None:
    """Returns (measure, row) of the row that is furthest ahead by more than its interval, or None.

    A later measure decides only if no row is ahead by an earlier one.
    """
    for name, gaps in differences.items():
        ahead = {row: gap["value"] for row, gap in gaps.items() if gap["ci"][0] > 0}
        if ahead:
            return name, max(ahead, key=lambda row: ahead[row])
    return None


def _coverage(pages: NDArray[Any], is_drawn: NDArray[Any], n_items: int) -> dict[str, Any]:
    """Returns {value, ci} of the fraction of items on ``pages``.

    A resample has fewer distinct users, hence fewer items, so the resampled values are centred on the value.
    """

    def distinct(pages: NDArray[Any]) -> int:
        return int((np.bincount(pages[pages >= 0]) > 0).sum())

    value = distinct(pages) / n_items
    draws = np.array([distinct(pages[drawn]) for drawn in is_drawn]) / n_items
    low, high = bootstrap_interval(draws - draws.mean() + value)
    return {"value": value, "ci": (max(low, 0.0), min(high, 1.0))}


def _to_matrix(relation: Relation | None, dataset: Dataset) -> csr_array:
    """Returns (users, items) of ones for the pairs of a relation of items, empty without one."""
    shape = len(dataset.snapshot.users), len(dataset.snapshot.works)
    if relation is None:
        return csr_array(shape, dtype=np.float32)
    rows = np.repeat(np.arange(len(relation)), np.diff(relation.indptr))
    items = dataset.snapshot.works.lookup(np.asarray(relation.values))
    is_known = items >= 0
    ones = np.ones(int(is_known.sum()), np.float32)
    return csr_array((ones, (rows[is_known], items[is_known])), shape)
