"""Erases ids from an online store and from its exported days.

User     Events and state of the user.
Item     Events of the work, its counters and columns, and its entries in lists of users.
Creator  Events of the creator, and entries in lists of users. Uploads of the creator are deleted.

Users and creators that are recommended are erased as items too. What the base has is hidden by marks: empty
state of a user, deletions of an item or of a creator's items. Marks hold the id until an erasure with a base
that lacks it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np

from karec.aggregates.events import Events, Head, select_erased
from karec.catalog.schema import CREATOR
from karec.erasure import ErasedIds
from karec.kernels.ordered_lists import VALUE
from karec.online.apply_events import EventApplier
from karec.online.event_files import EventFiles
from karec.online.export import LEASE, renew_lease, stored_batches
from karec.online.lifecycle import ItemLife
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import OnlineStore

USER_LISTS = (*records.USER_LISTS.values(), records.NEWEST_SHOWN, records.OLDER_SHOWN)


def erase_from_store(
    store: OnlineStore, contents: StoreContents, erased: ErasedIds, *, is_check: bool
) -> int:
    """Returns the number of events and entries with the ids. Unless ``is_check``, erases them.

    A killed call may be repeated. Cost: O(events), and O(state) for ids that can be items.
    """
    if is_check:
        n_found = sum(_count(stored.events, erased) for stored in stored_batches(store))
    else:
        n_found = store.erase_events(erased)
    if erased.kind == "user":
        n_found += _erase_users(store, contents, erased, is_check=is_check)
    if erased.kind != "user" or erased.item_type in contents.by_type:
        n_found += _erase_items(store, contents, erased, is_check=is_check)
    return n_found


def erase_from_files(
    store: OnlineStore, files: EventFiles, head: Head, erased: ErasedIds, *, is_check: bool
) -> int:
    """Returns the number of exported events with the ids. Unless ``is_check``, rewrites their days.

    Raises Unavailable if an export runs, LogSchemaError for a damaged file.
    """
    holder, n_found = uuid4().hex, 0
    try:
        for day in files.days():
            renew_lease(store, holder)
            n_day = sum(_count(events, erased) for events in files.read(day, head))
            n_found += n_day
            if n_day and not is_check:
                kept = (events.take(~select_erased(events, erased)) for events in files.read(day, head))
                files.write(day, kept, head)
    finally:
        store.acquire_lease(LEASE, holder, 0)  # seconds: ends it
    return n_found


def _count(events: Events, erased: ErasedIds) -> int:
    return int(select_erased(events, erased).sum())


def _erase_users(store: OnlineStore, contents: StoreContents, erased: ErasedIds, *, is_check: bool) -> int:
    n_entries = 0
    counters = bytes(8 * (1 + contents.base.n_scenes) * len(contents.counters))
    is_in_base = contents.base.users.lookup(erased.numbers) >= 0
    for user, has_marks in zip(erased.numbers.tolist(), is_in_base.tolist(), strict=True):
        entries = dict[bytes, bytes | None]()
        for one in contents.by_type.values():
            for letter in (*USER_LISTS, records.EARLIER_SHOWN, records.USER_COUNTERS):
                (key,) = records.keys_of(one.letter(letter), np.array([user]))
                mark = counters if letter == records.USER_COUNTERS else b""
                entries[key] = records.pack(key, mark) if has_marks else None
        n_entries += sum(value is not None for value in store.read_user(user, [*entries]))
        if not is_check:
            store.write_user(user, entries)
    return n_entries


def _erase_items(store: OnlineStore, contents: StoreContents, erased: ErasedIds, *, is_check: bool) -> int:
    search = _StateErasure(erased, is_dry=True)
    store.rewrite_state(search)
    if is_check:
        return len(search.keys)
    deleted = {*search.live_keys}
    for one in contents.by_type.values():
        items = one.base.works
        is_erased = np.isin(items.ids, erased.numbers) & (one.item_type == erased.item_type)
        if erased.kind == "creator" and CREATOR in items.columns:
            is_erased |= np.isin(items[CREATOR], erased.numbers)
        deleted |= {*records.keys_of(one.letter(records.WORK_LIFE), items.ids[is_erased])}
    if deleted:
        marks = Events.from_columns(
            "delete",
            source=uuid4().int >> 64,
            number=np.arange(len(deleted)),
            time_ms=erased.before_ms,
            logged_ms=erased.before_ms,
            item_type=np.array([*map(records.item_type_of, deleted)], object),
            item_id=np.array([*map(records.id_of, deleted)]),
        )
        store.append(marks, EventApplier(contents))
    store.rewrite_state(_StateErasure(erased, deleted=deleted))
    return len(search.keys)


@dataclass
class _StateErasure:
    """The ``Rewrite`` that removes ids of items or creators from state.

    deleted     keys of items whose deletion stays
    is_dry      changes nothing
    keys        keys whose value changes
    live_keys   of items that an upload or edit describes, and that are erased or of an erased creator
    """

    erased: ErasedIds
    deleted: Collection[bytes] = ()
    is_dry: bool = False
    keys: set[bytes] = field(default_factory=set)
    live_keys: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._ids = {*self.erased.numbers.tolist()}
        self._id_bytes = [number.tobytes() for number in self.erased.numbers]
        lists, own_letters = (
            {records.letter_of_type(letter, self.erased.item_type) for letter in letters}
            for letters in (USER_LISTS, (records.WORK_COUNTERS, records.BASE_COUNTERS, records.WORK_LIFE))
        )
        of_creators = self.erased.kind == "creator"
        creator_lists = {records.FOLLOWS, records.MUTED}
        self._lists = lists | creator_lists if of_creators else lists - creator_lists
        self._own_letters = own_letters | ({records.CREATOR_BLOCK} if of_creators else set())

    def __call__(self, key: bytes, value: bytes | None) -> bytes | None:
        new = None if value is None else self._without_ids(key, value)
        if new != value:
            self.keys.add(key)
        return value if self.is_dry else new

    def _without_ids(self, key: bytes, value: bytes) -> bytes | None:
        letter = records.letter_of(key)
        if letter in self._lists:
            return self._shorten(key, value)
        is_own = letter in self._own_letters and records.id_of(key) in self._ids
        if letter[-1:] == records.WORK_LIFE and (is_own or self.erased.kind == "creator"):
            return self._without_life(key, value, is_own=is_own)
        return None if is_own else value

    def _shorten(self, key: bytes, value: bytes) -> bytes:
        """Returns the list without the ids. A search of bytes decides for most lists."""
        if not any(id_bytes in value for id_bytes in self._id_bytes):
            return value
        rows = records.unpack([key], [value], 3).rows
        is_kept = ~np.isin(rows[:, VALUE], self.erased.numbers)
        return value if is_kept.all() else records.pack(key, rows[is_kept].tobytes())

    def _without_life(self, key: bytes, value: bytes, *, is_own: bool) -> bytes | None:
        """Returns the deletion of an item in ``deleted``, None for another erased one, else ``value``."""
        life = ItemLife.from_bytes(records.payload(value))
        if not is_own and life.columns.get(CREATOR, (0, None))[1] not in self._ids:
            return value
        deletion = ItemLife(presence=life.presence)
        if life != deletion or life.upload_ms is not None:
            self.live_keys.add(key)
        return records.pack(key, deletion.to_bytes()) if key in self.deleted else None
