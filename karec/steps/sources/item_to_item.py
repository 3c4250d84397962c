"""Source of items that are nearest neighbours of the items that the user liked last.

The vectors are co-watch vectors (``karec.features.cowatch``): an inner product is a cosine. The search is
exact: O(seeds · items with a vector · D) per request.
"""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.cowatch import CowatchVectors
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, works_at
from karec.steps.shared.postings import Spans, interleave, latest_of_users, latest_rows

MAX_LIST_ITEMS = 50  # latest items of a list that may be seeds


class ItemToItem(Source):
    """Alternates between the nearest items of each seed, by co-watch vectors. Seeds are left out.

    The seeds are the items that the user liked last, then those watched last, if they have a co-watch vector.
    An item has one if enough users had watched it before the training.

    Settings:
        seeds: maximum number of seeds.
        per_seed: maximum number of items near one seed.
    """

    is_verified = True  # tests/steps/sources/test_item_to_item.py
    reason = "watched by users who watched what this user liked last"

    def __init__(
        self, snapshot: Snapshot, encoder: Encoder, quota: int, seeds: int = 10, per_seed: int = 1000
    ) -> None:
        if quota <= 0 or seeds <= 0 or per_seed <= 0:
            raise ValueError(
                f"quota, seeds and per_seed must be positive, got {quota}, {seeds} and {per_seed}"
            )
        if encoder.cowatch is None:
            raise ValueError(
                "item_to_item needs co-watch vectors, and training made none: too few works have enough "
                "watchers"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.seeds = seeds
        self.per_seed = per_seed
        lists = {name: latest_of_users(snapshot, name) for name in ("liked", "history")}
        self.lists = {name: items for name, items in lists.items() if items is not None}
        cowatch = encoder.cowatch
        self.vectors, self.neighbours = snapshot.built.get(
            "co-watch neighbours", lambda: _index(snapshot, cowatch)
        )

    def recall(self, request: Request) -> Candidates:
        seeds = self._seeds(request)
        if not len(seeds):
            return Candidates.empty()
        k = min(self.per_seed + len(seeds), len(self.neighbours))
        allowed = allowed_works(request, self.snapshot)
        with self.neighbours.pinned() as view:
            mask = None if allowed is None else allowed[view.ids]
            nearest_ids = view.search(self.vectors[view.lookup(seeds)], k, mask=mask).ids
        lists, first = [], np.zeros(1, np.int64)
        for nearest in nearest_ids:
            rows = nearest[(nearest >= 0) & ~np.isin(nearest, seeds)].astype(np.int32)
            lists.append(Spans.from_limits(rows, first, np.array([len(rows)]), self.per_seed))
        return works_at(request, self.snapshot, interleave(self.snapshot, lists, self.quota))

    def causes(self, request: Request, ids: Array) -> Array:
        """Returns the nearest seed of each item."""
        seeds = self._seeds(request)
        rows = self.neighbours.lookup(self.snapshot.works.lookup(ids))
        if not len(seeds):
            return np.full(len(ids), -1)
        cosines = self.vectors[rows] @ self.vectors[self.neighbours.lookup(seeds)].T
        return np.where(rows < 0, -1, np.asarray(self.snapshot.works.ids)[seeds[cosines.argmax(axis=1)]])

    def _seeds(self, request: Request) -> Array:
        """Returns (≤ seeds,) distinct rows of works with a vector: liked ones first, latest first."""
        user = self.snapshot.users.row(request.user_number)
        lists = [np.empty(0, np.int64)]
        for name, items in self.lists.items():
            if request.online_list(name) is not None:
                lists.append(latest_rows(request, self.snapshot, name, MAX_LIST_ITEMS))
            elif user >= 0:
                lists.append(items.rows_of(user, MAX_LIST_ITEMS))
        rows = np.concatenate(lists)
        known_rows = rows[self.neighbours.lookup(rows) >= 0]
        return known_rows[np.sort(np.unique(known_rows, return_index=True)[1])][: self.seeds]


def _index(snapshot: Snapshot, cowatch: CowatchVectors) -> tuple[Array, ItemIndex]:
    """Returns (K, D) float32 co-watch vectors of the works that have one, and an index of them by work
    row."""
    rows = np.arange(len(snapshot.works))
    codes = cowatch.codes(np.asarray(snapshot.works.ids))
    vectors = cowatch.vectors[codes[codes > 0]]
    return vectors, ItemIndex.build(rows[codes > 0], vectors)
