"""Item types derived from works, with their vectors: songs, creators, live rooms and others.

    vector of an item = mean of the vectors of its works

So ⟨user, item⟩ is the mean of the towers' scores of its works. This needs no training and no other space, and
one user vector serves all item types. A live room has the works of its host, a song room those of its songs.
An item without a work in the index has no vector and no row.

Cost  O(entries · (D + log entries)), in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.catalog.item_types import ItemTable, ItemType
from karec.catalog.relation import Relation
from karec.catalog.schema import CREATOR, EXPOSED, PUBLISHED, SONG, TAG, Meaning, counter, is_counter
from karec.catalog.snapshot import Snapshot, open_relation, save_relations
from karec.catalog.table import Table
from karec.index import ItemIndex
from karec.refresh.item_vectors import served_columns

ROLES = {"song": SONG, "creator": CREATOR}
USER_COLUMNS = ("city", "family")  # copied for a creator who is a user
WORKS = "works"  # folder of the file of works_of
LISTS = ("history", "skipped", "liked")
CHUNK = 1 << 16  # works whose vectors are read at once


@dataclass(frozen=True, eq=False)
class DerivedItemType:
    """An item type whose items consist of works, ``works_of``: the work ids of each item.

    Raises ValueError if their numbers differ.
    """

    item_type: ItemType
    works_of: Relation

    def __post_init__(self) -> None:
        if len(self.works_of) != len(self.item_type.items):
            raise ValueError(
                f"works_of has {len(self.works_of)} lists, expected {len(self.item_type.items)}, one per item"
            )

    def save(self, folder: Path) -> None:
        """Writes the files into ``folder``, an existing folder without an item type."""
        self.item_type.save(folder)
        save_relations(folder / WORKS, {WORKS: self.works_of})

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-maps the files. Raises DataError if ``folder`` lacks one of them."""
        return cls(ItemType.open(folder), open_relation(folder / WORKS, WORKS))


def songs_and_creators(snapshot: Snapshot) -> dict[str, DerivedItemType]:
    """Returns the item types ``song`` and ``creator``, each if works have the column. O(W log W + entries).

    Counters are sums over the works, ``tag`` is the most frequent tag, ``upload_ms`` the latest. Users' lists
    have the songs and creators of the works in their lists.
    """
    return {
        name: _derive_by_column(snapshot, role, USER_COLUMNS if role == CREATOR else ())
        for name, role in ROLES.items()
        if role in snapshot.works.columns
    }


def role_tables(snapshot: Snapshot) -> dict[str, ItemTable]:
    """Returns the items of ``songs_and_creators`` as tables, without counters and lists."""
    tables = {}
    for name, derived in songs_and_creators(snapshot).items():
        items = derived.item_type.items
        columns = {column: values for column, values in items.columns.items() if not is_counter(column)}
        tables[name] = ItemTable(Table(items.ids, columns), {}, derived.works_of)
    return tables


def derive_item_type(table: ItemTable, snapshot: Snapshot) -> DerivedItemType:
    """Returns the item type of a table at the time of ``snapshot``. O(W log W + entries + M log M).

    Counters and lists of users are those of its impressions. Without any the lists are empty, and the
    counters are sums over the works, or 0 if the type has labels of its own.
    """
    works_of, n_items = table.works_of(snapshot.works), len(table.items)
    rows = snapshot.works.lookup(works_of.values)
    item = np.repeat(np.arange(n_items), np.diff(works_of.indptr))[rows >= 0]
    meaning, counters = snapshot.meaning, _sum_counters(snapshot.works, rows[rows >= 0], item, n_items)
    if table.labels:
        meaning = Meaning(enjoyed=table.labels)
        counters = dict.fromkeys((EXPOSED, *map(counter, table.labels)), np.zeros(n_items, np.float32))
    if table.impressions is not None:  # counts of its own log; those of works would grow in another way
        counters = dict.fromkeys(counters, np.zeros(n_items, np.float32))
    none = np.empty(0, np.int64)
    empty = Relation(np.zeros(len(snapshot.users) + 1, np.int64), none, none)
    lists = {name: empty for name in LISTS if name in snapshot.relations}
    items = Table(table.items.ids, {**table.items.columns, **counters})
    item_type = ItemType(items, lists, meaning, table.names)
    if table.impressions is not None and len(table.impressions):
        from karec.aggregates.advance import advance  # loads a compiler, which services do not need

        before_all = min(int(table.impressions.time_ms[0]), snapshot.time_ms)
        start = replace(item_type.to_snapshot(snapshot, ""), time_ms=before_all, user_scene_counters=None)
        end = advance(replace(start, labels={}), table.impressions, snapshot.time_ms)
        lists = {name: end.relations[name] for name in LISTS}
        item_type = replace(item_type, items=end.works, relations=lists)
    return DerivedItemType(item_type, works_of)


def build_item_type_index(
    derived: DerivedItemType, snapshot: Snapshot, works: ItemIndex, shards: Iterable[ItemIndex] | None = None
) -> ItemIndex:
    """Returns the index of an item type, in the space and model version of ``works``.

    ``shards``: newer vectors of all works, each work in one shard; None: those of ``works``. The sums are
    float64: those of up to 8,192 float16 vectors are exact, so they are equal for any shards.

    Raises ValueError for vectors of another model version, which have no meaningful mean with the others.
    """
    works_of = derived.works_of
    item_rows = np.repeat(np.arange(len(works_of)), np.diff(works_of.indptr))
    by_work = np.argsort(works_of.values, kind="stable")
    ordered = works_of.values[by_work]
    sums = np.zeros((len(works_of), works.dim))
    count = np.zeros(len(works_of), np.int64)
    for part in (works,) if shards is None else shards:
        if set(part.model_versions) - {works.model_version}:
            raise ValueError(
                f"works have vectors of model versions {list(part.model_versions)}, expected only "
                f"{works.model_version} for a mean"
            )
        ids = np.sort(part.ids)
        begins, ends = (np.searchsorted(ordered, ids, side) for side in ("left", "right"))
        entries = np.sort(by_work[_join_ranges(begins, ends)])
        with part.pinned() as view:
            for begin in range(0, len(entries), CHUNK):
                chunk = entries[begin : begin + CHUNK]
                vectors, owner = view.embeddings(view.lookup(works_of.values[chunk])), item_rows[chunk]
                first = np.flatnonzero(np.diff(owner, prepend=-1))
                sums[owner[first]] += np.add.reduceat(vectors, first, axis=0, dtype=np.float64)
                count[owner[first]] += np.diff(first, append=len(owner))
    has_works = np.flatnonzero(count)
    sums /= np.maximum(count, 1)[:, None]
    columns = served_columns(derived.item_type.to_snapshot(snapshot, ""))
    return ItemIndex.build(
        np.asarray(derived.item_type.items.ids)[has_works],
        sums.astype(np.float32)[has_works],
        columns={name: column[has_works] for name, column in columns.items()},
        model_version=works.model_version,
        space_id=next((v.space_id for v in works.versions if v.number == works.model_version), 0),
    )


def _join_ranges(begins: NDArray[Any], ends: NDArray[Any]) -> NDArray[Any]:
    """Returns begins[0] … ends[0] − 1, begins[1] … ends[1] − 1 and so on."""
    lengths = ends - begins
    return np.repeat(ends - np.cumsum(lengths), lengths) + np.arange(lengths.sum())


def _derive_by_column(snapshot: Snapshot, role: str, user_columns: tuple[str, ...]) -> DerivedItemType:
    works = snapshot.works
    value = np.asarray(works[role])
    has_value = np.flatnonzero(value >= 0)
    ids, group = np.unique(value[has_value], return_inverse=True)
    columns = {role: ids, **_sum_counters(works, has_value, group, len(ids))}
    if TAG in works.columns:
        columns[TAG] = _most_frequent(group, np.asarray(works[TAG])[has_value], len(ids))
    if PUBLISHED in works.columns:
        columns[PUBLISHED] = np.zeros(len(ids), np.int64)
        np.maximum.at(columns[PUBLISHED], group, np.asarray(works[PUBLISHED])[has_value])
    user = snapshot.users.lookup(ids)
    for name in user_columns:
        if name in snapshot.users.columns:
            column = np.asarray(snapshot.users[name])
            columns[name] = np.where(user >= 0, column[user], column.dtype.type(-1))
    lists = {name: _map_relation(snapshot, name, value) for name in LISTS if name in snapshot.relations}
    kind = ItemType(Table(ids, columns), lists, snapshot.meaning)
    return DerivedItemType(kind, Relation.from_pairs(group, np.asarray(works.ids)[has_value], len(ids)))


def _sum_counters(
    works: Table, rows: NDArray[Any], group: NDArray[Any], n_groups: int
) -> dict[str, NDArray[Any]]:
    """Returns the counters of works, summed over the ``rows`` of each group."""
    return {
        name: np.bincount(group, weights=column[rows], minlength=n_groups).astype(np.float32)
        for name, column in works.columns.items()
        if is_counter(name)
    }


def _most_frequent(group: NDArray[Any], tag: NDArray[Any], n: int) -> NDArray[Any]:
    """Returns (n,) the most frequent tag of each of n items, the lowest if several are."""
    tags, code = np.unique(tag, return_inverse=True)
    # np.unique of 2,000,000 integers takes a fifth of the time of pairs (notebook/2026-12-01-means-by-shard).
    pairs, count = np.unique(group * len(tags) + code, return_counts=True)
    item = pairs // len(tags)
    order = np.lexsort((-pairs, count, item))
    result = np.full(n, -1, tag.dtype)
    result[item[order]] = tags[pairs[order] % len(tags)]
    return result


def _map_relation(snapshot: Snapshot, name: str, value: NDArray[Any]) -> Relation:
    """Returns the relation ``name`` with works replaced by their ``value``, if they have one."""
    relation = snapshot.relations[name]
    rows = snapshot.works.lookup(relation.values)
    values = np.where(rows >= 0, value[rows], -1)
    kept = values >= 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[relation.indptr]
    return Relation(
        indptr, values[kept].astype(np.int64), None if relation.times is None else relation.times[kept]
    )
