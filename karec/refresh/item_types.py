"""Kinds of items that are made of works: their vectors, and those kinds that every platform has, songs and
creators.

    vector of an item = the mean of the vectors of its works

so that ⟨user, item⟩ is the mean of what the towers say of its works: no training of its own, one space, one
user vector for all kinds. A live room is made of its host's works, a song room of the works of its songs. An
item without a work that the index knows has no vector and no row.

Cost  O(entries · D), in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.item_types import ItemType
from karec.catalog.relation import Relation
from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TAG, is_counter
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.index import ItemIndex
from karec.refresh.item_vectors import served_columns

ROLES = {"song": SONG, "creator": CREATOR}
OF_USERS = ("city", "family")  # columns that a creator who is a user has from there
LISTS = ("history", "skipped", "liked")
AT_ONCE = 1 << 16  # works whose vectors are read at once


@dataclass(frozen=True, eq=False)
class KindOfWorks:
    """``works_of``: for each row of ``kind.items`` the ids of the works that it is made of. ValueError: for
    others."""

    kind: ItemType
    works_of: Relation

    def __post_init__(self) -> None:
        if len(self.works_of) != len(self.kind.items):
            raise ValueError(
                f"works_of has {len(self.works_of)} lists, the kind has {len(self.kind.items)} items"
            )


def songs_and_creators(snapshot: Snapshot) -> dict[str, KindOfWorks]:
    """The kinds ``song`` and ``creator``, those of them whose role works have. Counters are the sums of their
    works'.

    A song's or creator's ``tag`` is the one that most of the works have, ``upload_ms`` the last one's. Lists
    of users hold the songs and creators of the works in their lists. O(W log W + entries).
    """
    return {
        name: _by_value(snapshot, role, OF_USERS if role == CREATOR else ())
        for name, role in ROLES.items()
        if role in snapshot.works.columns
    }


def kind_index(made: KindOfWorks, snapshot: Snapshot, works: ItemIndex) -> ItemIndex:
    """The index of a kind: in the space and of the model version of ``works``, with the columns that steps
    read.

    ValueError: ``works`` holds vectors of several model versions, whose mean means nothing.
    """
    if len(works.model_versions) > 1:
        raise ValueError(
            f"the works' vectors are of model versions {list(works.model_versions)}: a mean needs one"
        )
    item = np.repeat(np.arange(len(made.works_of)), np.diff(made.works_of.indptr))
    sums = np.zeros((len(made.kind.items), works.dim))
    count = np.zeros(len(made.kind.items), np.int64)
    with works.pinned() as view:
        for begin in range(0, len(item), AT_ONCE):
            piece = slice(begin, begin + AT_ONCE)
            rows = view.lookup(made.works_of.values[piece])
            known = rows >= 0
            if not known.any():
                continue
            owner = item[piece][known]
            first = np.flatnonzero(np.diff(owner, prepend=-1))
            sums[owner[first]] += np.add.reduceat(
                view.embeddings(rows[known]), first, axis=0, dtype=np.float64
            )
            count += np.bincount(owner, minlength=len(count))
    have = np.flatnonzero(count)
    columns = served_columns(made.kind.over(snapshot))
    return ItemIndex.build(
        np.asarray(made.kind.items.ids)[have],
        (sums[have] / count[have, None]).astype(np.float32),
        columns={name: column[have] for name, column in columns.items()},
        model_version=works.model_version,
        space_id=next((each.space_id for each in works.versions if each.number == works.model_version), 0),
    )


def _by_value(snapshot: Snapshot, role: str, of_users: tuple[str, ...]) -> KindOfWorks:
    works = snapshot.works
    value = np.asarray(works[role])
    named = np.flatnonzero(value >= 0)
    ids, which = np.unique(value[named], return_inverse=True)
    columns = {role: ids}
    for name, column in works.columns.items():
        if is_counter(name):
            columns[name] = np.bincount(which, weights=column[named], minlength=len(ids)).astype(np.float32)
    if TAG in works.columns:
        columns[TAG] = _most_frequent(which, np.asarray(works[TAG])[named], len(ids))
    if PUBLISHED in works.columns:
        columns[PUBLISHED] = np.zeros(len(ids), np.int64)
        np.maximum.at(columns[PUBLISHED], which, np.asarray(works[PUBLISHED])[named])
    user = snapshot.users.lookup(ids)
    for name in of_users:
        if name in snapshot.users.columns:
            column = np.asarray(snapshot.users[name])
            columns[name] = np.where(user >= 0, column[user], column.dtype.type(-1))
    lists = {name: _of_values(snapshot, name, value) for name in LISTS if name in snapshot.relations}
    kind = ItemType(Table(ids, columns), lists, snapshot.meaning)
    return KindOfWorks(kind, Relation.from_pairs(which, np.asarray(works.ids)[named], len(ids)))


def _most_frequent(which: NDArray[Any], tag: NDArray[Any], n: int) -> NDArray[Any]:
    """(n,) the tag that stands most often among the rows of each of n items, the lowest of several."""
    pair, count = np.unique(np.stack([which, tag.astype(np.int64)]), axis=1, return_counts=True)
    order = np.lexsort((-pair[1], count, pair[0]))
    most = np.full(n, -1, np.int64)
    most[pair[0][order]] = pair[1][order]
    return most.astype(tag.dtype)


def _of_values(snapshot: Snapshot, name: str, value: NDArray[Any]) -> Relation:
    """The list ``name`` with the ``value`` of each work in the work's place; works without one are left
    out."""
    relation = snapshot.relations[name]
    rows = snapshot.works.lookup(relation.values)
    values = np.where(rows >= 0, value[rows], -1)
    kept = values >= 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[relation.indptr]
    return Relation(
        indptr, values[kept].astype(np.int64), None if relation.times is None else relation.times[kept]
    )
