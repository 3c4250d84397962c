"""Keeps the items of one type in memory and in their index, by the lifecycle events of a store."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import Events
from karec.errors import one_line
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.online.item_changes import NO_IDS, ItemChanges, ItemsState
from karec.online.lifecycle import ItemLife, ItemLifecycle, select_lifecycle_events
from karec.online.store.contents import StoreContents

_log = logging.getLogger("karec.online")

UpdateIndex = Callable[[ChangedItems, IndexUpdate], None]
"""Applies an update to the indices that requests search."""
NO_UPDATE = IndexUpdate(NO_IDS, NO_IDS, NO_IDS, NO_IDS, {}, {})


@dataclass(eq=False)
class FollowedItems:
    """The items of one type as of the last poll, ``items``. One thread updates them, any thread may read.

    contents      of the item type
    item_changes  the updated and the hidden items
    update_index  writes to the index of the type
    presence      the open items; None: items of this type do not open and close
    counts        "items not indexed"
    """

    contents: StoreContents
    item_changes: ItemChanges
    update_index: UpdateIndex
    presence: Presence | None = None
    items: ChangedItems = field(init=False)
    counts: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        n_counters, n_recent = len(self.contents.counters), len(self.contents.recent_counters)
        self.items = ChangedItems.empty(self.contents.base, n_counters, n_recent)

    def begin(self, state: ItemsState) -> None:
        update = self.item_changes.begin(state)
        self._take(update, self.item_changes.lifecycle.items, self.contents.base.works.ids)

    def update(self, lifecycle: ItemLifecycle) -> None:
        """Takes the new lives of some items and creators."""
        self._take(self.item_changes.update(lifecycle), lifecycle.items)

    def apply(self, events: Events) -> None:
        """Applies the lifecycle events of this item type among ``events``."""
        own_events = select_lifecycle_events(events, self.contents.item_type)
        if len(own_events):
            self.update(self.item_changes.lifecycle.apply(own_events, Counter()))

    def close_ended(self) -> None:
        """Hides the items whose time to be open has ended."""
        if self.presence is not None and self.presence.has_ended(_now_ms()):
            self._take(NO_UPDATE, {})

    def reapply_edits(self) -> None:
        """Upserts the edited items of the base again."""
        update = self.item_changes.edits()
        if len(update.rows):
            self._put(update)

    def _take(self, update: IndexUpdate, lives: Mapping[int, ItemLife], others: Iterable[int] = ()) -> None:
        # The items change before the index: a request pins the index first, so it finds no unknown item.
        self.items = self.item_changes.apply_to(self.items)
        if self.presence is not None:
            self.presence.apply(lives, _now_ms())
            update = self.presence.restrict(update, {*lives, *others}, self.items.hidden_ids)
        self._put(update)

    def _put(self, update: IndexUpdate) -> None:
        try:
            self.update_index(self.items, update)
        except Exception as error:  # of a tower or an index; the former rows stay in service
            self.counts["items not indexed"] += len(update.rows)
            _log.warning("%s", one_line(f"{len(update.rows)} items are not in the index: {error}"))


@dataclass(eq=False)
class Presence:
    """The open items of one type: an item is open from an opening until a closing, at most ``max_ms``.

    An item without an opening is closed. One thread may call.
    """

    max_ms: float
    _ends: dict[int, float] = field(default_factory=dict, init=False)
    _ended: set[int] = field(default_factory=set, init=False)

    def has_ended(self, now_ms: int) -> bool:
        """Returns True if an item was open too long. O(open items)."""
        return min(self._ends.values(), default=now_ms + 1) <= now_ms

    def apply(self, lives: Mapping[int, ItemLife], now_ms: int) -> None:
        """Applies the new lives of some items, then closes those of them that were open too long. Without
        new lives, it checks all items.
        """
        for item, life in lives.items():
            self._ends[item] = now_ms if life.open_ms is None else life.open_ms + self.max_ms
        self._ended = {item for item in lives or self._ends if self._ends[item] <= now_ms}
        for item in self._ended:
            del self._ends[item]

    def restrict(self, update: IndexUpdate, changed: set[int], hidden_ids: NDArray[Any]) -> IndexUpdate:
        """Returns ``update`` that also hides closed items and restores open ones that are not hidden.

        ``changed``: items whose lives changed; those that ended in ``apply`` are added.
        """
        items = np.array(sorted({*changed, *self._ended, *update.restored_ids.tolist()}), np.int64)
        is_open = np.array([item in self._ends for item in items.tolist()], bool)
        is_open &= ~np.isin(items, hidden_ids)
        hidden = np.union1d(update.hidden_ids, items[~is_open])
        return replace(update, hidden_ids=hidden, restored_ids=items[is_open])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
