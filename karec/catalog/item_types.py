"""Kinds of items other than works: songs, creators, live rooms, song rooms. A scene recommends items of one
kind.

A kind has items as works have: ids, columns, counters, and lists of each user (``history``, ``liked``) that
hold ids of the kind. Users, friends and follows are the platform's own. On disk a kind is a folder beside the
snapshot:

    kind.json                                      {"format": 1, "labels": {…}, "meaning": {…}}
    items/ids.npy  items/<column>.npy
    relations/<name>.{indptr,values,times}.npy     one list for each user row of the snapshot
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from karec._stored import read_json
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import (
    Snapshot,
    is_texts,
    meaning_of,
    meaning_table,
    open_relations,
    open_table,
    save_columns,
    save_relations,
)
from karec.catalog.table import Table
from karec.errors import DataError

FORMAT = 1
HEAD, ITEMS, RELATIONS = "kind.json", "items", "relations"
OF_PEOPLE = ("follows", "friends")  # relations between users: the platform's, whatever the kind


@dataclass(frozen=True, eq=False)
class ItemType:
    """``items`` with columns as ``karec.catalog.schema`` says of works; ``relations`` of each user row to
    ids of the kind; ``meaning`` of the kind's labels; ``labels`` name category codes of its columns.
    """

    items: Table
    relations: Mapping[str, Relation]
    meaning: Meaning
    labels: Mapping[str, list[str]] = field(default_factory=dict)

    def over(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot`` as scenes of this kind read it: its works are the items. DataError: lists of other
        users."""
        people = {name: relation for name, relation in snapshot.relations.items() if name in OF_PEOPLE}
        return replace(
            snapshot,
            works=self.items,
            relations={**people, **self.relations},
            labels={**snapshot.labels, **self.labels},
            meaning=self.meaning,
            user_scene_counters=None,
        )

    def save(self, folder: Path) -> None:
        """Writes the files into ``folder``, which is there and holds no kind yet."""
        save_columns(folder / ITEMS, {"ids": self.items.ids, **self.items.columns})
        save_relations(folder / RELATIONS, self.relations)
        head = {"format": FORMAT, "labels": dict(self.labels), "meaning": meaning_table(self.meaning)}
        (folder / HEAD).write_text(json.dumps(head))

    @classmethod
    def open(cls, folder: Path) -> ItemType:
        """Mapped. DataError when ``folder`` is no kind, a damaged one, or one of a newer format. O(ids and
        lists)."""
        try:
            head = read_json(folder / HEAD)
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                raise DataError(f"{folder / HEAD} is no kind of format {FORMAT}, which this version reads")
            labels = head.get("labels")
            if not isinstance(labels, dict) or not all(map(is_texts, labels.values())):
                raise DataError(f"{folder / HEAD}: labels are no lists of names by column")
            meaning = meaning_of(folder / HEAD, head.get("meaning"))
            return cls(open_table(folder / ITEMS), open_relations(folder / RELATIONS), meaning, labels)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} is not a kind of items: {error}") from error
