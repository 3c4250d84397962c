"""Erases ids from an online store.

User     Events and state of the user.
Item     Events of the item, its counters and columns, and its entries in lists of users.
Creator  Events of the creator, and entries in lists of users. Items of the creator are deleted.

Users and creators that are recommended are erased as items too. If the base has an id, the store hides it: by
empty state of a user, by the deletion of an item and counters of 0. An erasure with a base that lacks the id
removes these. Running services read the state of items again.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import numpy as np

from karec.aggregates.events import Events
from karec.catalog.schema import CREATOR
from karec.erasure import ErasedIds
from karec.kernels.ordered_lists import VALUE
from karec.online.apply_events import EventApplier
from karec.online.lifecycle import ItemLife
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import ERASURE, OnlineStore, Read, StateUpdate

USER_LISTS = (*records.USER_LISTS.values(), records.NEWEST_SHOWN, records.OLDER_SHOWN)


def erase_from_store(store: OnlineStore, contents: StoreContents, erased: ErasedIds) -> int:
    """Erases the ids. Returns the number of events and entries with them.

    A killed call may be repeated. Cost: O(events), and O(state) for ids that can be items.
    """
    n_found = store.delete_events(lambda events: erased.select(vars(events)))
    if erased.kind == "user":
        n_found += _erase_users(store, contents, erased)
    if erased.kind != "user" or erased.item_type in contents.by_type:
        n_found += _erase_items(store, contents, erased)
    return n_found


def _erase_users(store: OnlineStore, contents: StoreContents, erased: ErasedIds) -> int:
    n_entries = 0
    counters = bytes(8 * (1 + contents.base.n_scenes) * len(contents.counters))
    letters = (*USER_LISTS, records.EARLIER_SHOWN, records.USER_COUNTERS)
    for user, row in zip(erased.numbers.tolist(), contents.base.users.lookup(erased.numbers), strict=True):
        entries = dict[bytes, bytes | None]()
        for one in contents.by_type.values():
            for letter in letters:
                (key,) = records.keys_of(one.letter(letter), np.array([user]))
                empty = counters if letter == records.USER_COUNTERS else b""
                entries[key] = records.pack(key, empty) if row >= 0 else None
        n_entries += sum(value is not None for value in store.read_user(user, [*entries]))
        store.write_user(user, entries)
    return n_entries


def _erase_items(store: OnlineStore, contents: StoreContents, erased: ErasedIds) -> int:
    lives = _read_lives(store, contents, erased)
    deleted = {
        key
        for key, life in lives.items()
        if life.upload_ms or life != ItemLife(life.presence, erased_ms=life.erased_ms)
    }
    zeros = dict[bytes, bytes | None]()
    for one in contents.by_type.values():
        items = one.base.works
        is_erased = np.isin(items.ids, erased.numbers) & (one.item_type == erased.item_type)
        for key in records.keys_of(one.letter(records.BASE_COUNTERS), items.ids[is_erased]):
            zeros[key] = records.pack(key, bytes(8 * len(one.counters)))
        if erased.kind == "creator" and CREATOR in items.columns:
            is_erased |= np.isin(items[CREATOR], erased.numbers)
        deleted |= {*records.keys_of(one.letter(records.WORK_LIFE), items.ids[is_erased])}
    if deleted:  # Running services follow these events.
        deletions = Events.from_columns(
            "delete",
            source=uuid4().int >> 64,
            number=np.arange(len(deleted)),
            time_ms=erased.before_ms,
            logged_ms=erased.before_ms,
            item_type=np.array([*map(records.item_type_of, deleted)], object),
            item_id=np.array([*map(records.id_of, deleted)]),
        )
        applier = EventApplier(contents)

        def delete(events: Events, read: Read) -> StateUpdate:
            update = applier(events, read)
            return replace(update, entries={**update.entries, **zeros})

        store.append(deletions, delete)
    counters = (records.WORK_COUNTERS, records.RECENT_COUNTERS, records.BASE_COUNTERS)
    removed = (_keys_of(erased, *counters) - zeros.keys()) | (lives.keys() - deleted)
    lists = {records.letter_of_type(letter, erased.item_type) for letter in USER_LISTS}
    if erased.kind == "creator":
        removed |= _keys_of(erased, records.CREATOR_BLOCK)
    else:
        lists -= {records.FOLLOWS, records.MUTED}  # of creators
    id_bytes = [number.tobytes() for number in erased.numbers]

    def rewrite(key: bytes, value: bytes | None) -> bytes | None:
        if value is None or key in removed:
            return None
        if key in deleted:
            presence = ItemLife.from_bytes(records.payload(value)).presence
            return records.pack(key, ItemLife(presence, erased_ms=erased.before_ms).to_bytes())
        if records.letter_of(key) not in lists or not any(each in value for each in id_bytes):
            return value
        rows = records.unpack([key], [value], 3).rows
        is_kept = ~np.isin(rows[:, VALUE], erased.numbers)
        return value if is_kept.all() else records.pack(key, rows[is_kept].tobytes())

    n_changed = store.rewrite_state(rewrite)
    while not store.write_document(ERASURE, uuid4().bytes, store.read_document(ERASURE)):
        continue
    return n_changed


def _read_lives(store: OnlineStore, contents: StoreContents, erased: ErasedIds) -> dict[bytes, ItemLife]:
    """Returns {key: life} of the items that are erased or of an erased creator."""
    own_keys, creators = _keys_of(erased, records.WORK_LIFE), {*erased.numbers.tolist()}
    letters = [one.letter(records.WORK_LIFE) for one in contents.by_type.values()]
    _, entries = store.snapshot(letters)
    lives = {key: ItemLife.from_bytes(records.payload(value)) for key, value in entries}
    return {
        key: life
        for key, life in lives.items()
        if key in own_keys
        or (erased.kind == "creator" and life.columns.get(CREATOR, (0, None))[1] in creators)
    }


def _keys_of(erased: ErasedIds, *letters: bytes) -> set[bytes]:
    own_letters = [records.letter_of_type(letter, erased.item_type) for letter in letters]
    return {key for letter in own_letters for key in records.keys_of(letter, erased.numbers)}
