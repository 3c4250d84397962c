"""Recall channels merged into one list without repeats; each work knows which channels found it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.errors import nearest
from karec.index import IndexView, Rows
from karec.kernels.merge import merge_channels, sole_counts
from karec.kernels.merge_rows import MOST_CHANNELS, merge_rows
from karec.pipeline.step import Merger
from karec.pipeline.types import Array, Candidates, Request, StepOutput
from karec.steps.shared.postings import related_now

NOT_OF_ITEMS = ("follows", "friends", "searched")  # relations that hold ids of people and songs


class Merge(Merger):
    """At most ``quotas[c]`` works that channel c brings first, and ``limit`` in all; the order of the
    channels is their priority. Where the request has a view of the index, works have their rows there: those
    that a channel found, and of other channels they are looked up. O(works found).

    floors    at least so many works that channel c found are there, as far as it found so many; together at
              most limit
    consumed  relations of the snapshot, such as history and skipped: works that they list for the user are
              left out

    Where the request knows what happened since the bundle was made, works that were deleted or blocked are
    left out, and those that the user was shown, unless ``show_again``.

    Notes: ``sole (C,)``, how many works each channel alone found.
    """

    is_verified = True  # tests/kernels/test_merge.py
    limit: int

    def __init__(
        self,
        quotas: Sequence[int],
        limit: int,
        floors: Sequence[int] | None = None,
        consumed: Sequence[str] = (),
        snapshot: Snapshot | None = None,
        show_again: bool = False,
    ) -> None:
        if limit <= 0 or any(quota <= 0 for quota in quotas):
            raise ValueError(f"quotas and the limit must be positive, got {quotas} and {limit}")
        floors = [0] * len(quotas) if floors is None else list(floors)
        above = [
            (floor, quota) for floor, quota in zip(floors, quotas, strict=True) if not 0 <= floor <= quota
        ]
        if above:
            raise ValueError(
                f"a channel's floor lies in 0 … its quota, got {above[0][0]} with the quota {above[0][1]}"
            )
        if sum(floors) > limit:
            raise ValueError(
                f"the floors sum to {sum(floors)}, {limit} works leave recall: make them smaller"
            )
        relations = (
            () if snapshot is None else tuple(name for name in snapshot.relations if name not in NOT_OF_ITEMS)
        )
        for relation in consumed:
            if relation not in relations:
                raise ValueError(
                    f"consumed names {relation!r}{nearest(relation, relations)}; lists of items are "
                    f"{relations}"
                )
        self.quotas = tuple(quotas)
        self.limit = limit
        self.floors = tuple(floors)
        self.consumed = tuple(consumed)
        self.snapshot = snapshot
        self.show_again = show_again

    def merge(self, request: Request, parts: Sequence[Candidates]) -> StepOutput[Candidates]:
        merged = self._merged(request.view, parts, self._consumed_by(request))
        user = None if request.online is None or self.show_again else request.online.user
        if user is not None and len(user.earlier_filters):
            merged = merged.take(~user.has_seen_earlier(merged.ids))
        return StepOutput(merged, {"sole": sole_counts(merged.sources, len(parts)).tolist()})

    def _merged(
        self, view: IndexView | None, parts: Sequence[Candidates], left_out: Array | None
    ) -> Candidates:
        given, scored = [part.ids for part in parts], [part.scores for part in parts]
        rows = [part.rows if view is not None and view.has_rows(part.rows) else None for part in parts]
        how = self.quotas, self.limit, self.floors, left_out
        if view is None or len(parts) > MOST_CHANNELS:
            ids, scores, found, sources = merge_channels(given, scored, *how, rows)
        else:
            whole = [
                view.lookup(part.ids) if of is None else of for part, of in zip(parts, rows, strict=True)
            ]
            left_rows = None if left_out is None else view.lookup(left_out)
            ids, scores, found, sources = merge_rows(given, scored, whole, view.n_rows, *how, left_rows)
            rows = [*whole]
        tagged = next((of for of in rows if isinstance(of, Rows)), None)
        return Candidates(ids, found if tagged is None else tagged.tag(found), scores, sources)

    def _consumed_by(self, request: Request) -> Array | None:
        snapshot, lists = self.snapshot, []
        if snapshot is not None:
            lists = [related_now(request, snapshot, relation) for relation in self.consumed]
        if request.online is not None:
            lists.append(request.online.items.hidden_ids)
            if request.online.user is not None and not self.show_again:
                lists.append(request.online.user.recent_shown)
        return np.concatenate(lists) if lists else None
