"""Item types other than works: songs, creators, live rooms, song rooms. A scene recommends one item type.

An item type has ids, columns, counters, and lists of each user (``history``, ``liked``) with ids of the type.
Users, friends and follows are those of the platform. On disk an item type is a folder next to the snapshot:

    kind.json                                      {"format": 1, "labels": {…}, "meaning": {…}}
    items/ids.npy  items/<column>.npy
    relations/<name>.{indptr,values,times}.npy     one list for each user row of the snapshot
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import CREATOR, SONG, Meaning
from karec.catalog.snapshot import (
    MeaningTable,
    Snapshot,
    meaning_to_dict,
    open_relations,
    open_table,
    read_stored,
    save_columns,
    save_relations,
)
from karec.catalog.table import Table
from karec.errors import DataError
from karec.files import read_json, to_struct

FORMAT: Literal[1] = 1
HEAD, ITEMS, RELATIONS = "kind.json", "items", "relations"
USER_RELATIONS = ("follows", "muted", "friends")  # relations between users, the same for all item types


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items of one type before publication, without counters, vectors and lists of users.

    items        table with the columns of ``karec.catalog.schema``
    names        names of category codes by column
    works        of each item: a relation to ids of works; or the role whose value its works share with it
    labels       labels of its events, each means enjoyed. Empty: those of works
    impressions  of items of the type, ordered by time, with ``labels``. None: there is no log
    """

    items: Table
    names: Mapping[str, list[str]]
    works: Relation | Literal["creator", "song"]
    labels: tuple[str, ...] = ()
    impressions: Impressions | None = None

    def works_of(self, works: Table) -> Relation:
        """Returns the ids of the works of each item. O((W + items) log W + entries)."""
        if isinstance(self.works, Relation):
            return self.works
        role = {"creator": CREATOR, "song": SONG}[self.works]
        order = np.argsort(works[role], kind="stable")
        values, keys = np.asarray(works[role])[order], np.asarray(self.items[role])
        begins = np.searchsorted(values, keys)
        counts = np.where(keys >= 0, np.searchsorted(values, keys, side="right") - begins, 0)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        rows = order[np.arange(indptr[-1]) + np.repeat(begins - indptr[:-1], counts)]
        return Relation(indptr, np.asarray(works.ids)[rows])


class _Head(Struct):
    format: Literal[1]
    labels: dict[str, list[str]]
    meaning: MeaningTable


@dataclass(frozen=True, eq=False)
class ItemType:
    """Items of one type with their relations.

    items      table with the columns of ``karec.catalog.schema``
    relations  of each user row to ids of the type
    meaning    of the labels of the type
    labels     names of category codes by column
    """

    items: Table
    relations: Mapping[str, Relation]
    meaning: Meaning
    labels: Mapping[str, list[str]] = field(default_factory=dict)

    def to_snapshot(self, snapshot: Snapshot, name: str) -> Snapshot:
        """Returns ``snapshot`` with the items of this type, ``name``, in place of the works.

        Raises DataError if the relations have another number of users.
        """
        user_relations = {
            name: relation for name, relation in snapshot.relations.items() if name in USER_RELATIONS
        }
        return replace(
            snapshot,
            works=self.items,
            relations={**user_relations, **self.relations},
            labels={**snapshot.labels, **self.labels},
            meaning=self.meaning,
            user_scene_counters=None,
            item_type=name,
        )

    def save(self, folder: Path) -> None:
        """Writes the files into ``folder``, an existing folder without an item type."""
        save_columns(folder / ITEMS, {"ids": self.items.ids, **self.items.columns})
        save_relations(folder / RELATIONS, self.relations)
        head = {"format": FORMAT, "labels": dict(self.labels), "meaning": meaning_to_dict(self.meaning)}
        (folder / HEAD).write_text(json.dumps(head))

    @classmethod
    def open(cls, folder: Path) -> ItemType:
        """Memory-maps the files. O(ids and lists).

        Raises DataError if ``folder`` has no item type, a damaged one, or one of a newer format.
        """
        try:
            head = read_stored(folder / HEAD, lambda path: to_struct(read_json(path), _Head))
            items, relations = open_table(folder / ITEMS), open_relations(folder / RELATIONS)
            return cls(items, relations, Meaning(**head.meaning), head.labels)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} is not an item type: {error}") from error
