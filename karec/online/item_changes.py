"""Keeps the items that changed since a base. Lifecycle events update them; the next base can continue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import BLOCK
from karec.catalog.schema import CREATOR, PUBLISHED, is_counter
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.online.changed_items import ChangedItems, GrowingTable, IndexUpdate, items_snapshot, make_cells
from karec.online.lifecycle import (
    ADJUSTMENTS,
    ID,
    NEVER,
    NO_BASE_MS,
    ItemLife,
    ItemLifecycle,
    PackedLives,
    TimedKind,
    Value,
)

NumberOf = Callable[[str, str], int]
"""(column, text) → number of a category's value, −1 if unknown. Equal callables give equal numbers."""
Refuse = Callable[[Mapping[str, Value], int], str]
"""(columns of an upload, item) → reason why the upload is refused; "" if it is accepted."""

NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class ItemsState:
    """State of one ``ItemChanges``, for the ``ItemChanges`` of another base.

    ``table`` has the items that were added; ``is_upload`` (N,) bool marks those that the base lacked. Their
    cells are valid for a base with equal ``cell_rules``.
    """

    lifecycle: ItemLifecycle
    table: Table
    is_upload: NDArray[Any]
    platform_ids: Mapping[int, int | str]
    cell_rules: tuple[object, ...]

    @classmethod
    def from_lifecycle(cls, lifecycle: ItemLifecycle, base: Snapshot) -> Self:
        return cls(lifecycle, base.works.take(NO_IDS), np.empty(0, bool), {}, ())


class ItemChanges:
    """The updated and the hidden items of ``ChangedItems``. One thread may call.

    An item is added if its newest event is an upload that ``refuse`` accepts and the base lacks it. If
    ``refuse`` rejects it after an edit, it is hidden. An item of the base that was edited since is added too
    and replaces the base's row. Values of columns that the base lacks are ignored; columns without a value
    are missing. ``counts``: refused uploads by reason.
    """

    def __init__(self, base: Snapshot, number_of: NumberOf, refuse: Refuse) -> None:
        self.base = base
        self._number_of = number_of
        self._refuse = refuse
        self._lives = PackedLives()
        self._creator_blocks = dict[int, TimedKind]()
        self._growing = GrowingTable(base.works)
        self._is_upload = np.empty(0, bool)  # rows of the table that the base lacks
        self._platform_ids = dict[int, int | str]()
        self._hidden = set[int]()
        self._hidden_ids = NO_IDS
        self.counts: Counter[str] = Counter()

    @property
    def lifecycle(self) -> ItemLifecycle:
        """Current lives, not a copy."""
        return ItemLifecycle(self._lives, self._creator_blocks)

    def copy_state(self) -> ItemsState:
        """Returns the state for another base. That base reuses the cells if its rules are equal."""
        lifecycle = ItemLifecycle(PackedLives.from_lives(self._lives), dict(self._creator_blocks))
        ids = dict(self._platform_ids)
        return ItemsState(lifecycle, self._growing.table, self._is_upload, ids, self._cell_rules())

    def begin(self, state: ItemsState) -> IndexUpdate:
        """Does the first update, equal to ``update(state.lifecycle)``.

        No Python code runs per item for items of the base without a newer event and for rows of ``state``
        that are valid for this base.
        """
        self._lives = PackedLives.from_lives(state.lifecycle.items)
        self._creator_blocks = dict(state.lifecycle.creator_blocks)
        items, change_ms = self._lives.change_times()
        is_in_base = self.base.works.lookup(items) >= 0
        state_rows = state.table.lookup(items)
        has_equal_cells = state.cell_rules == self._cell_rules()
        is_kept = (state_rows >= 0) & ~is_in_base & (change_ms < NO_BASE_MS) & has_equal_cells
        is_kept[is_kept] = state.is_upload[state_rows[is_kept]]
        blocked_creators = np.array(
            [creator for creator, event in self._creator_blocks.items() if event[1] == BLOCK], np.int64
        )
        items_of_blocked = NO_IDS
        if len(blocked_creators) and CREATOR in self.base.works.columns:
            if is_kept.any():
                is_kept[is_kept] = ~np.isin(state.table[CREATOR][state_rows[is_kept]], blocked_creators)
            items_of_blocked = self.base.works.ids[np.isin(self.base.works[CREATOR], blocked_creators)]
        elif len(blocked_creators):
            items_of_blocked = self._items_of({*blocked_creators.tolist()})
            is_kept &= ~np.isin(items, items_of_blocked)
        other_items = items[~is_kept & ~(is_in_base & (change_ms < self.base.time_ms))]
        rows = state_rows[is_kept]
        if len(rows):
            self._growing.put(np.empty(0, bool), state.table.ids[rows], state.table.take(rows).columns)
        self._is_upload = np.ones(len(rows), bool)
        kept_items = items[is_kept].tolist()
        kept_ids = {item: state.platform_ids[item] for item in kept_items if item in state.platform_ids}
        self._platform_ids |= kept_ids
        lives = {item: self._lives[item] for item in other_items.tolist()}
        update = self._update_items(np.union1d(other_items, items_of_blocked), lives)
        return replace(
            update,
            rows=np.concatenate([np.arange(len(rows)), update.rows]),
            time_ms=np.concatenate([change_ms[is_kept], update.time_ms]),
            platform_ids={**kept_ids, **update.platform_ids},
        )

    def update(self, newer: ItemLifecycle) -> IndexUpdate:
        """Takes the new lives of some items and creators.

        Cost: O(changed items), and O(added items) if one of them was added before.
        """
        newer_blocks = newer.creator_blocks.items()
        creators = [creator for creator, event in newer_blocks if self._creator_blocks.get(creator) != event]
        self._lives.put(newer.items)
        self._creator_blocks |= newer.creator_blocks
        changed_items = {*newer.items}
        if creators and CREATOR in self.base.works.columns:
            for table in (self.base.works, self._growing.table):
                changed_items.update(
                    table.ids[np.isin(table[CREATOR], np.array(creators, np.int64))].tolist()
                )
            changed_items.update(item for item in self._hidden if self._creator_of(item) in creators)
        elif creators:
            changed_items.update(self._items_of({*creators}).tolist())
        return self._update_items(np.array(sorted(changed_items), np.int64), newer.items)

    def edits(self) -> IndexUpdate:
        """Returns an update that upserts the edited items of the base again."""
        rows = np.flatnonzero(~self._is_upload)
        change_ms = [self._lives[item].change_ms for item in self._growing.table.ids[rows].tolist()]
        return IndexUpdate(rows, np.array(change_ms, np.int64), NO_IDS, NO_IDS, {}, {})

    def apply_to(self, items: ChangedItems) -> ChangedItems:
        """Returns ``items`` with the current updated and hidden items."""
        table, hidden_ids, n_batches = self._growing.table, self._hidden_ids, items.n_batches + 1
        if items.updates.works is table:
            return replace(items, hidden_ids=hidden_ids, n_batches=n_batches)
        uploads = updates = items_snapshot(self.base, table)
        if not self._is_upload.all():
            uploads = items_snapshot(self.base, table.take(self._is_upload))
        return replace(items, updates=updates, uploads=uploads, hidden_ids=hidden_ids, n_batches=n_batches)

    def _cell_rules(self) -> tuple[object, ...]:
        """Returns a value that is equal for two bases that give an upload the same cells."""
        columns = {name: (column.dtype, column.shape[1:]) for name, column in self.base.works.columns.items()}
        labels = {name: tuple(self.base.labels.get(name, ())) for name in columns}
        return list(columns.items()), labels, self._number_of, self._refuse

    def _update_items(self, items: NDArray[Any], lives: Mapping[int, ItemLife]) -> IndexUpdate:
        """Updates ``items``, ascending. ``lives``: those of them that are in memory already."""
        in_base, in_table = self.base.works.lookup(items), self._growing.table.lookup(items)
        ids, rows = list[int](), list[dict[str, Any]]()
        change_ms, is_upload = list[int](), list[bool]()
        hidden = list[int]()
        platform_ids = dict[int, int | str]()
        for item, base_row, table_row in zip(
            items.tolist(), in_base.tolist(), in_table.tolist(), strict=True
        ):
            life = lives[item] if item in lives else self._lives.get(item, ItemLife())
            values = self._values(item, life, base_row)
            if life.is_gone or self._is_creator_blocked(item, values, base_row):
                hidden.append(item)
            elif values is not None:
                ids.append(item)
                rows.append(values)
                change_ms.append(life.change_ms)
                is_upload.append(base_row < 0)
                platform_id = life.columns.get(ID, (NEVER, None))[1]
                if isinstance(platform_id, int | str):
                    platform_ids[item] = platform_id
            elif (base_row < 0 and table_row >= 0) or self._is_void(life):
                hidden.append(item)
        restored_ids = self._hide({*items.tolist()}, {*hidden})
        adjustments = {
            name: {item: _factor(life, name) for item, life in lives.items() if name in life.adjustments}
            for name in ADJUSTMENTS
        }
        is_removed = np.zeros(len(self._is_upload), bool)
        is_removed[in_table[in_table >= 0]] = True
        if ids or is_removed.any():
            columns = {
                name: make_cells([row.get(name) for row in rows], name, column)
                for name, column in self.base.works.columns.items()
            }
            self._growing.put(is_removed, np.array(ids, np.int64), columns)
            self._is_upload = np.concatenate([self._is_upload[~is_removed], np.array(is_upload, bool)])
        for item in hidden:
            self._platform_ids.pop(item, None)
        self._platform_ids |= platform_ids
        return IndexUpdate(
            np.arange(len(self._is_upload) - len(ids), len(self._is_upload)),
            np.array(change_ms, np.int64),
            np.array(hidden, np.int64),
            restored_ids,
            platform_ids,
            adjustments,
        )

    def _hide(self, items: set[int], hidden: set[int]) -> NDArray[Any]:
        """Hides ``hidden`` and none else of ``items``. Returns the items that are no longer hidden."""
        if not hidden and self._hidden.isdisjoint(items):
            return NO_IDS
        restored_items = (self._hidden & items) - hidden
        self._hidden = (self._hidden - items) | hidden
        self._hidden_ids = np.array(sorted(self._hidden), np.int64)
        return np.array(sorted(restored_items), np.int64)

    def _values(self, item: int, life: ItemLife, base_row: int) -> dict[str, Any] | None:
        """Returns the cells of an item to add; None for a base item without edits, unknown or refused."""
        if base_row >= 0 and not self._is_void(life):
            edited_values = life.values(self.base.time_ms)
            if not edited_values:
                return None
            row = {name: column[base_row].tolist() for name, column in self.base.works.columns.items()}
            return {**row, **self._numbered(edited_values)}
        if life.upload_ms is None:
            self.counts["edit of an unknown item"] += life.presence is None and bool(life.columns)
            return None
        values = life.values()
        reason = self._refuse(values, item)
        if reason:
            self.counts[reason] += 1
            return None
        return {PUBLISHED: life.upload_ms, **self._numbered(values)}

    def _is_void(self, life: ItemLife) -> bool:
        """Returns True if the item was erased after the base was made."""
        return life.erased_ms >= self.base.time_ms

    def _numbered(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Returns the values of the base's columns, texts as numbers. Counters only come from events."""
        numbers = {}
        for name, value in values.items():
            if name in self.base.works.columns and not is_counter(name):
                labels = self.base.labels.get(name, ())
                numbers[name] = value
                if isinstance(value, str):
                    numbers[name] = labels.index(value) if value in labels else self._number_of(name, value)
        return numbers

    def _is_creator_blocked(self, item: int, values: Mapping[str, Any] | None, base_row: int) -> bool:
        if not self._creator_blocks:
            return False
        has_creators = CREATOR in self.base.works.columns
        creator = (values or {}).get(CREATOR) if has_creators else self._creator_of(item)
        if creator is None and base_row >= 0:
            creator = self.base.works[CREATOR][base_row].item()
        event = self._creator_blocks.get(self._creator_cell(creator))
        return event is not None and event[1] == BLOCK

    def _items_of(self, creators: set[int]) -> NDArray[Any]:
        """Returns the changed items whose events name one of ``creators``, for a base without creators.

        Cost: O(changed items).
        """
        return np.array([item for item in self._lives if self._creator_of(item) in creators], np.int64)

    def _creator_of(self, item: int) -> int:
        """Returns the creator that the item's newest upload or edit names."""
        creator = self._lives.get(item, ItemLife()).columns.get(CREATOR, (NEVER, None))[1]
        if CREATOR in self.base.works.columns:
            creator = self._numbered({CREATOR: creator}).get(CREATOR)
        return self._creator_cell(creator)

    def _creator_cell(self, creator: Any) -> int:
        return int(make_cells([creator], CREATOR, self.base.works.columns.get(CREATOR, NO_IDS))[0])


def _factor(life: ItemLife, name: str) -> float:
    value = life.adjustments[name][1]
    assert isinstance(value, int | float)
    return float(value)
