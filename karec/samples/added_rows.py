"""Adds the users and the uploads that only the event log has to a snapshot, and to the maps of its ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import IMPRESSION, Events
from karec.catalog.schema import CREATOR, SONG
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.errors import DataError
from karec.index import IdMap
from karec.online.changed_items import ChangedItems, make_cells
from karec.online.item_changes import ItemChanges
from karec.online.lifecycle import ItemLifecycle, select_lifecycle_events
from karec.online.text_numbers import MAPS, TextNumbers

USER_MAP, ITEM_MAP = "users.karec", "items.karec"
TEXT_KEYS = {CREATOR: "creator", SONG: SONG}  # keys of an upload's text that have ids of these columns


def with_added_rows(snapshot: Snapshot, events: Events, ids: Path | None) -> tuple[Snapshot, list[str]]:
    """Returns ``snapshot`` with the users of impressions and the uploads that it lacks, and notes.

    An upload has the newest values of its columns; other columns are missing and counters are 0. Uploads that
    were deleted or blocked since are left out. If ids are in a map, users whose id no event has are left out.

    Args:
        ids: folder with the maps of the ids, which get the new ids. None: ids are numbers.

    Raises:
        DataError: a map would give other numbers with the new ids.
    """
    users = _new_users(snapshot, events)
    number_of = TextNumbers({}, {}) if ids is None else TextNumbers.from_folder(ids)
    changes = ItemChanges(snapshot, number_of, lambda values, item: "")
    update = changes.update(ItemLifecycle().apply(select_lifecycle_events(events), Counter()))
    uploads = changes.apply_to(ChangedItems.empty(snapshot, 0)).uploads.works
    if ids is not None:
        if len(IdMap.open(ids / USER_MAP, verify=False)):  # else ids are numbers
            users = {number: text for number, text in users.items() if text}
        _add_ids(ids / USER_MAP, np.asarray(snapshot.users.ids), [*users.values()])
        _add_ids(ids / ITEM_MAP, np.asarray(snapshot.works.ids), [*update.platform_ids.values()])
        lives = [changes.lifecycle.items[item] for item in uploads.ids.tolist()]
        for column, name in MAPS.items():
            values = [life.values().get(TEXT_KEYS[column]) for life in lives]
            if (ids / f"{name}.karec").exists():
                known = np.unique(snapshot.works[column])
                new_ids = [value for value in values if isinstance(value, str)]
                _add_ids(ids / f"{name}.karec", known[known >= 0], new_ids)
    added = {"users": len(users), "uploads": len(uploads)}
    notes = [f"online store: {n:,} {rows} that the data lack, added" for rows, n in added.items() if n]
    return _with_rows(snapshot, np.array([*users], np.int64), uploads), notes


def _new_users(snapshot: Snapshot, events: Events) -> dict[int, str]:
    """Returns {number: id} of users of impressions, ascending; "" if no event has the id."""
    shown = events.take((events.kind == IMPRESSION) & (events.user_id >= 0))
    shown = shown.take(snapshot.users.lookup(shown.user_id) < 0)
    users = dict.fromkeys(np.unique(shown.user_id).tolist(), "")
    users.update((user, text) for user, text in zip(shown.user_id.tolist(), shown.text, strict=True) if text)
    return users


def _with_rows(snapshot: Snapshot, new_users: NDArray[Any], uploads: Table) -> Snapshot:
    n = len(new_users)
    empty = [None] * n
    cells = {name: make_cells(empty, name, column) for name, column in snapshot.users.columns.items()}
    counters = snapshot.user_scene_counters
    if counters is not None:
        counters = {name: np.pad(column, (0, n * snapshot.n_scenes)) for name, column in counters.items()}
    return replace(
        snapshot,
        users=_append(snapshot.users, Table(new_users, cells)),
        works=_append(snapshot.works, uploads),
        relations={
            name: replace(relation, indptr=np.pad(relation.indptr, (0, n), "edge"))
            for name, relation in snapshot.relations.items()
        },
        user_scene_counters=counters,
    )


def _append(table: Table, new: Table) -> Table:
    columns = {name: np.concatenate([column, new[name]]) for name, column in table.columns.items()}
    return Table(np.concatenate([table.ids, new.ids]), columns)


def _add_ids(path: Path, numbers: NDArray[Any], new_ids: Sequence[Any]) -> None:
    """Writes the map again with ``new_ids``, in the kind of the map. ``numbers``: those of all its ids."""
    old = IdMap.open(path, verify=False)
    if not len(old) or not new_ids:  # an empty map: ids are numbers
        return
    new_ids = [(str if old.kind == "string" else int)(new_id) for new_id in new_ids]
    if IdMap.build([*old.names(numbers).tolist(), *new_ids], path).seed != old.seed:
        raise DataError(f"{path}: two ids have one number. Add the users and uploads to the data files.")
