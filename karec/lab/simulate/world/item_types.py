"""Item types of the world other than works: songs to sing, creators to follow, live rooms, song rooms.

They come from the same tastes as feedback to works. Each type has a log of impressions in the weeks of the
world. Half of them are drawn by the weight of an item, half are the best of three by a noisy estimate. The
counters and lists of the type are aggregates of this log.

    type       items                               feedback                caused by
    song       songs, most with accompaniment      sing                    song, suitable voice, pair, era
    creator    creators                            follow                  voice, skill, pair, city, friend
    live       rooms of hosts, who are creators    watch 1, 5, 30 minutes  voice, skill, pair, city, friend,
                                                                           follow
    room       song rooms of any user, five songs  join                    songs of the room, friend, family,
                                                                           city
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable, ItemType
from karec.catalog.relation import Relation
from karec.catalog.schema import CREATOR, PUBLISHED, SONG, Meaning, is_counter
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.lab.simulate.world.item_type_tastes import (
    CreatorTastes,
    ItemTypeTastes,
    LiveTastes,
    RoomTastes,
    SongTastes,
)
from karec.lab.simulate.world.opening_hours import OpeningHours
from karec.lab.simulate.world.platform import FIRST_SONG_ID, FIRST_USER_ID, World
from karec.lab.simulate.world.sampling import weighted_rows
from karec.refresh.item_types import DerivedItemType

FIRST_LIVE_ID, FIRST_ROOM_ID = 2_000_000_001, 3_000_000_001
IMPRESSIONS_PER_USER = 20  # of each type, on average
N_CANDIDATES = 3
NOISE = 1.5  # standard deviation of the estimate of a candidate
WORKS_PER_KEY = 50  # latest works of a song or host in the vector of a room
MEANING = {
    "song": Meaning(enjoyed=("sing",)),
    "creator": Meaning(enjoyed=("follow",), followed=("follow",)),
    "live": Meaning(enjoyed=("watch_1m", "watch_5m"), liked=("watch_30m",)),
    "room": Meaning(enjoyed=("join",)),
}
LISTS = ("history", "skipped", "liked")


@dataclass(frozen=True, eq=False)
class WorldItemType:
    """An item type with its truth.

    ``data``: what the platform publishes; ``impressions``: its log; ``tastes``, ``hours`` (None: open): the
    truth, by item row.
    """

    data: DerivedItemType
    impressions: Impressions
    tastes: ItemTypeTastes
    hours: OpeningHours | None

    def open_ids(self, time_ms: int) -> NDArray[Any]:
        """Returns the ids of the items that are open at a moment."""
        ids = np.asarray(self.data.item_type.items.ids)
        return ids if self.hours is None else ids[self.hours.is_open_at(np.arange(len(ids)), time_ms)]

    def value(self, user_rows: NDArray[Any], ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) the expected value of the scene's objective: a probability, or seconds."""
        return self.tastes.value(user_rows, self.data.item_type.items.lookup(ids))


def make_item_types(world: World, snapshot: Snapshot, *, seed: int = 0) -> dict[str, WorldItemType]:
    """Makes the item types of ``world`` at the moment of ``snapshot``, which has the users of the world in
    order.

    The same world, snapshot and seed give the same arrays. Cost: O(users · IMPRESSIONS_PER_USER + works log
    works): 2 s for the demo.
    """
    begin_ms = world.dataset.snapshot.time_ms
    item_types = {}
    for number, (name, tastes) in enumerate(_tastes(world, seed).items()):
        rng = np.random.default_rng([seed, number])
        hours = OpeningHours.from_random(len(tastes), rng) if name in ("live", "room") else None
        table, works_of = _items(name, tastes, snapshot, rng)
        impressions = _draw_impressions(tastes, hours, table, snapshot, begin_ms, rng)
        start = replace(
            ItemType(table, {}, MEANING[name]).to_snapshot(snapshot, name),
            time_ms=begin_ms,
            labels={},
            user_scene_counters=None,
        )
        end = advance(start, impressions, snapshot.time_ms)
        names = [*LISTS, *(["follows"] if MEANING[name].followed else [])]
        lists = {relation: end.relations[relation] for relation in names}
        item_types[name] = WorldItemType(
            DerivedItemType(ItemType(end.works, lists, MEANING[name]), works_of), impressions, tastes, hours
        )
    return item_types


def with_item_types(world: World, *, seed: int = 0) -> Dataset:
    """Returns the dataset of ``world`` with its item types and their impressions before the test days.

    The impressions are those of ``make_item_types`` at the start of the test days.
    """
    dataset = world.dataset
    made = make_item_types(world, replace(dataset.snapshot, time_ms=dataset.valid_until_ms), seed=seed)
    tables = {}
    for name, item_type in made.items():
        items, labels = item_type.data.item_type.items, tuple(label.name for label in item_type.tastes.labels)
        columns = {column: values for column, values in items.columns.items() if not is_counter(column)}
        table = ItemTable(
            Table(items.ids, columns), {}, item_type.data.works_of, labels, item_type.impressions
        )
        tables[name] = table
    return replace(dataset, item_types=tables)


def _tastes(world: World, seed: int) -> dict[str, ItemTypeTastes]:
    truth, people = world.truth, world.truth.people
    rng = np.random.default_rng([seed, 17])
    hosts = people.creators
    owners = rng.permutation(len(people))[: max(len(people) // 2, 1)]
    return {
        "song": SongTastes(truth, rng),
        "creator": CreatorTastes(truth, hosts),
        "live": LiveTastes(truth, hosts),
        "room": RoomTastes(truth, owners, rng),
    }


def _items(
    name: str, tastes: ItemTypeTastes, snapshot: Snapshot, rng: np.random.Generator
) -> tuple[Table, Relation]:
    """Returns the table of the items, and the works that their vectors are made of."""
    n = len(tastes)
    columns: dict[str, NDArray[Any]] = {}
    if isinstance(tastes, SongTastes):
        songs = tastes.truth.songs
        ids = FIRST_SONG_ID + np.arange(n, dtype=np.int64)
        columns = {SONG: ids, "tag": songs.tag, "era": songs.era, "accompaniment": tastes.accompaniment}
        return Table(ids, columns), _works_of(snapshot, SONG, ids, np.arange(n), n)
    owner = FIRST_USER_ID + tastes.owners.astype(np.int64)
    people = tastes.truth.people
    columns = {CREATOR: owner, "city": people.city[tastes.owners], "family": people.family[tastes.owners]}
    if isinstance(tastes, RoomTastes):
        columns["tag"] = tastes.truth.songs.tag[tastes.songs[:, 0]]
        keys = FIRST_SONG_ID + tastes.songs.ravel()
        works_of = _works_of(snapshot, SONG, keys, np.repeat(np.arange(n), tastes.songs.shape[1]), n)
        return Table(FIRST_ROOM_ID + np.arange(n, dtype=np.int64), columns), works_of
    works_of = _works_of(snapshot, CREATOR, owner, np.arange(n), n)
    ids = owner if name == "creator" else FIRST_LIVE_ID + np.arange(n, dtype=np.int64)
    return Table(ids, columns), works_of


def _works_of(snapshot: Snapshot, role: str, keys: NDArray[Any], item: NDArray[Any], n: int) -> Relation:
    """Returns for each of n items the latest WORKS_PER_KEY works of its ``keys`` (M,), by ``item`` (M,)."""
    works = snapshot.works
    order = np.lexsort((-np.asarray(works[PUBLISHED]), works[role]))
    ordered = np.asarray(works[role])[order]
    low, high = np.searchsorted(ordered, keys), np.searchsorted(ordered, keys, side="right")
    count = np.minimum(high - low, WORKS_PER_KEY)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows = order[np.repeat(low, count) + within]
    return Relation.from_pairs(np.repeat(item, count), np.asarray(works.ids)[rows], n)


def _draw_impressions(
    tastes: ItemTypeTastes,
    hours: OpeningHours | None,
    table: Table,
    snapshot: Snapshot,
    begin_ms: int,
    rng: np.random.Generator,
) -> Impressions:
    """Returns impressions from ``begin_ms`` to the snapshot with feedback; none of a user's own items."""
    people = tastes.truth.people
    n = IMPRESSIONS_PER_USER * len(people)
    user = weighted_rows(people.activity, n, rng)
    time_ms = np.sort(rng.integers(begin_ms, snapshot.time_ms, n))
    item = _draw_items(tastes, hours, user, time_ms, rng)
    rows = (
        np.flatnonzero((item >= 0) & (tastes.owners[item] != user))
        if tastes.has_owners
        else np.flatnonzero(item >= 0)
    )
    user, item, time_ms = user[rows], item[rows], time_ms[rows]
    tastes.calibrate(user, item)
    probabilities = tastes.probabilities(user, item)
    uniforms = rng.random((len(probabilities), len(user)))
    labels = {}
    label, parent = np.ones(len(user), bool), np.ones(len(user))
    for name, uniform in zip(probabilities, uniforms, strict=True):
        label = label & (uniform * parent < probabilities[name])
        parent = probabilities[name]
        labels[name] = label.astype(np.uint8)
    scene = np.full(len(user), -1, np.int32)
    return Impressions(
        np.asarray(snapshot.users.ids)[user], np.asarray(table.ids)[item], time_ms, scene, labels
    )


def _draw_items(
    tastes: ItemTypeTastes,
    hours: OpeningHours | None,
    user: NDArray[Any],
    time_ms: NDArray[Any],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Returns (M,) the shown items, −1 if none is open."""
    item = np.full(len(user), -1)
    for rows, items in _group_by_half_hour(hours, time_ms, len(tastes)):
        if not len(items):
            continue
        candidates = items[weighted_rows(tastes.weight[items], N_CANDIDATES * len(rows), rng)].reshape(
            N_CANDIDATES, -1
        )
        preference = [
            tastes.preference(user[rows], candidate) + NOISE * rng.standard_normal(len(rows))
            for candidate in candidates
        ]
        best = candidates[np.argmax(preference, axis=0), np.arange(len(rows))]
        item[rows] = np.where(rng.random(len(rows)) < 0.5, best, candidates[0])
    return item


def _group_by_half_hour(
    hours: OpeningHours | None, time_ms: NDArray[Any], n: int
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Returns (rows of a half hour, items open in its middle); all rows at once if items are always open."""
    if hours is None:
        return [(np.arange(len(time_ms)), np.arange(n))]
    half_hours = time_ms // hours.HALF_HOUR_MS
    parts = np.split(np.arange(len(time_ms)), np.flatnonzero(np.diff(half_hours)) + 1)
    middles = [int(half_hours[rows[0]]) * hours.HALF_HOUR_MS + hours.HALF_HOUR_MS // 2 for rows in parts]
    all_items = np.arange(n)
    return [
        (rows, np.flatnonzero(hours.is_open_at(all_items, ms)))
        for rows, ms in zip(parts, middles, strict=True)
    ]
