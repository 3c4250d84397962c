"""Merger of the sources' candidates into one list of distinct items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.errors import nearest
from karec.index import IndexView, Rows
from karec.kernels.merge import merge_channels, sole_counts
from karec.kernels.merge_rows import MOST_CHANNELS, merge_rows
from karec.pipeline.step import Merger
from karec.pipeline.types import Array, Candidates, Request, StepOutput
from karec.steps.shared.postings import related_now
from karec.times import HOUR_MS

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.read_state import UserState

NOT_OF_ITEMS = ("follows", "muted", "friends", "searched")  # relations with ids of users, creators and songs


class Merge(Merger):
    """Takes at most ``quotas[c]`` first items of source c, and ``limit`` items in all. Sources are in order
    of priority.

    Each item has the bits of all sources that found it. If the request has an index view, items have their
    rows in it: rows that a source found are kept, others are looked up. Cost: O(items found).

    min_items  minimum number of items of each source, if it found so many; their sum is at most ``limit``
    consumed   relations of the snapshot, for example history; their items for the user are left out

    If the request has the online store, deleted and blocked items are left out, and items that the user was
    shown unless ``show_again`` is True. If it is a number, only items shown in the last ``show_again`` hours
    are left out, at most the last 1,000.

    Notes: ``sole (C,)``, the number of items that only source c found.
    """

    is_verified = True  # tests/kernels/test_merge.py
    limit: int

    def __init__(
        self,
        quotas: Sequence[int],
        limit: int,
        min_items: Sequence[int] | None = None,
        consumed: Sequence[str] = (),
        snapshot: Snapshot | None = None,
        show_again: bool | float = False,
    ) -> None:
        if limit <= 0 or any(quota <= 0 for quota in quotas):
            raise ValueError(f"quotas and the limit must be positive, got {quotas} and {limit}")
        min_items = [0] * len(quotas) if min_items is None else list(min_items)
        for n, quota in zip(min_items, quotas, strict=True):
            if not 0 <= n <= quota:
                raise ValueError(f"min_items of a source is {n}, expected 0 … {quota}, its quota")
        if sum(min_items) > limit:
            raise ValueError(
                f"min_items of the sources sum to {sum(min_items)}, above limits.recall = {limit}: make them "
                f"smaller"
            )
        relations = (
            () if snapshot is None else tuple(name for name in snapshot.relations if name not in NOT_OF_ITEMS)
        )
        for relation in consumed:
            if relation not in relations:
                raise ValueError(
                    f"consumed contains {relation!r}{nearest(relation, relations)}; relations of items are "
                    f"{relations}"
                )
        self.quotas = tuple(quotas)
        self.limit = limit
        self.min_items = tuple(min_items)
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
        part_ids, part_scores = [part.ids for part in parts], [part.scores for part in parts]
        rows = [part.rows if view is not None and view.has_rows(part.rows) else None for part in parts]
        limits = self.quotas, self.limit, self.min_items, left_out
        if view is None or len(parts) > MOST_CHANNELS:
            ids, scores, merged_rows, sources = merge_channels(part_ids, part_scores, *limits, rows)
        else:
            known_rows = [
                view.lookup(part.ids) if part_rows is None else part_rows
                for part, part_rows in zip(parts, rows, strict=True)
            ]
            left_rows = None if left_out is None else view.lookup(left_out)
            ids, scores, merged_rows, sources = merge_rows(
                part_ids, part_scores, known_rows, view.n_rows, *limits, left_rows
            )
            rows = [*known_rows]
        tagged_rows = next((part_rows for part_rows in rows if isinstance(part_rows, Rows)), None)
        return Candidates(
            ids, merged_rows if tagged_rows is None else tagged_rows.tag(merged_rows), scores, sources
        )

    def _consumed_by(self, request: Request) -> Array | None:
        snapshot, lists = self.snapshot, []
        if snapshot is not None:
            lists = [related_now(request, snapshot, relation) for relation in self.consumed]
        if request.online is not None:
            lists.append(request.online.items.hidden_ids)
            if request.online.user is not None:
                lists.append(self._shown(request, request.online.user))
        return np.concatenate(lists) if lists else None

    def _shown(self, request: Request, user: UserState) -> Array:
        """Returns the newest items that the user was shown and that may not appear again yet."""
        if self.show_again is False:
            return user.recent_shown
        shown = user.lists["shown"]
        if self.show_again is True or shown.times is None:
            return np.empty(0, np.int64)
        begin_ms = (request.time_ms or 0) - self.show_again * HOUR_MS
        return np.asarray(shown.values[shown.times > begin_ms])
