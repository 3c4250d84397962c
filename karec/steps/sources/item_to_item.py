"""Item-to-item recall: the works that are watched by the same people as what the user liked last.

The vectors are those of who watched what together (``karec.features.cowatch``); their inner products are
cosines. They are searched exactly: O(seeds · works with a vector · D) a request.
"""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.cowatch import CowatchVectors
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import interleave, latest_of_users, latest_rows, user_row, works_at

LOOKED_AT = 50  # latest works of a list, of which those with a vector are seeds


class ItemToItem(Source):
    """The seeds' nearest works read in turns, ``per_seed`` of each at most, none of them a seed.

    The seeds are the ``seeds`` works that the user liked last and, where those are fewer, watched last, those
    that have a co-watch vector: some users must have watched a work before training.
    """

    is_verified = True  # tests/steps/sources/test_item_to_item.py
    reason = "watched by those who watched what the user liked last"

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
        self.lists = {name: of for name, of in lists.items() if of is not None}
        cowatch = encoder.cowatch
        self.vectors, self.neighbours = snapshot.built.get(
            "co-watch neighbours", lambda: _index(snapshot, cowatch)
        )

    def recall(self, request: Request) -> Candidates:
        seeds = self._seeds(request)
        if not len(seeds):
            return Candidates.empty()
        k = min(self.per_seed + len(seeds), len(self.neighbours))
        found = self.neighbours.search(self.vectors[self.neighbours.lookup(seeds)], k=k).ids
        lists = []
        for nearest in found:
            rows = nearest[(nearest >= 0) & ~np.isin(nearest, seeds)].astype(np.int32)
            lists.append((rows, np.array([0]), np.array([min(len(rows), self.per_seed)])))
        return works_at(self.snapshot, interleave(self.snapshot, lists, self.quota))

    def _seeds(self, request: Request) -> Array:
        """(≤ seeds,) work rows with a vector, each once, liked ones first, latest first."""
        user = user_row(self.snapshot, request.user_number)
        lists = [np.empty(0, np.int64)]
        for name, of in self.lists.items():
            if request.online_list(name) is not None:
                lists.append(latest_rows(request, self.snapshot, name, LOOKED_AT))
            elif user >= 0:
                all_rows, begins, ends = of.spans(np.array([user]), LOOKED_AT)
                lists.append(all_rows[begins[0] : ends[0]])
        rows = np.concatenate(lists)
        known = rows[self.neighbours.lookup(rows) >= 0]
        return known[np.sort(np.unique(known, return_index=True)[1])][: self.seeds]


def _index(snapshot: Snapshot, cowatch: CowatchVectors) -> tuple[Array, ItemIndex]:
    """(vectors (K, D) float32, an index of them by work row): of the snapshot's works, those that have a
    vector."""
    rows = np.arange(len(snapshot.works))
    codes = cowatch.codes(np.asarray(snapshot.works.ids))
    vectors = cowatch.vectors[codes[codes > 0]]
    return vectors, ItemIndex.build(rows[codes > 0], vectors)
