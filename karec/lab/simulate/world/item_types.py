"""What the world's scenes recommend beside works: songs to sing, creators to follow, live rooms, song rooms.

Everything comes from the tastes that works are judged by. Each kind has a log of what was shown in the
world's weeks and what users did, half of it drawn by how widely the platform shows an item, half the best of
three by a noisy look; its counters and lists are folds of that log.

    kind       items                               a user does             because of
    song       songs, most with accompaniment      sing                    song, voice that suits it, fancy,
               era
    creator    creators                            follow                  voice, skill, fancy, city, friend
    live       rooms of hosts, who are creators    watch 1, 5, 30 minutes  voice, skill, fancy, city, friend,
               follow
    room       song rooms of any user, five songs  join                    the room's songs, friend, family,
               city
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemType
from karec.catalog.relation import Relation
from karec.catalog.schema import CREATOR, PUBLISHED, SONG, Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.lab.simulate.world.item_type_tastes import (
    CreatorTastes,
    KindTastes,
    LiveTastes,
    RoomTastes,
    SongTastes,
)
from karec.lab.simulate.world.opening_hours import OpeningHours
from karec.lab.simulate.world.platform import FIRST_SONG_ID, FIRST_USER_ID, World
from karec.lab.simulate.world.sampling import weighted_rows
from karec.refresh.item_types import DerivedItemType

FIRST_LIVE_ID, FIRST_ROOM_ID = 2_000_000_001, 3_000_000_001
SHOWN = 20  # items of each kind that are shown to a user, on average
LOOKS = 3
NOISE = 1.5  # of a look
WORKS_EACH = 50  # works of a song or host that a room's vector is made of, the latest
MEANING = {
    "song": Meaning(enjoyed=("sing",)),
    "creator": Meaning(enjoyed=("follow",), followed=("follow",)),
    "live": Meaning(enjoyed=("watch_1m", "watch_5m"), liked=("watch_30m",)),
    "room": Meaning(enjoyed=("join",)),
}
LISTS = ("history", "skipped", "liked")


@dataclass(frozen=True, eq=False)
class WorldKind:
    """``made`` is published; ``tastes`` and ``hours`` (None: always there) are the truth, by row of its
    items."""

    made: DerivedItemType
    tastes: KindTastes
    hours: OpeningHours | None

    def on_at(self, time_ms: int) -> NDArray[Any]:
        """Ids of the items that are there at a moment."""
        ids = np.asarray(self.made.item_type.items.ids)
        return ids if self.hours is None else ids[self.hours.open_at(np.arange(len(ids)), time_ms)]

    def value(self, user_rows: NDArray[Any], ids: NDArray[Any]) -> NDArray[Any]:
        """(N,) what the scene is for, expected of ``user_rows (N,)`` and items ``ids (N,)``: a chance, or
        seconds."""
        return self.tastes.value(user_rows, self.made.item_type.items.lookup(ids))


def make_kinds(world: World, snapshot: Snapshot, *, seed: int = 0) -> dict[str, WorldKind]:
    """The kinds of ``world`` as of ``snapshot``, the platform that is served: users are those of the world,
    in order.

    The same world, snapshot and seed give the same arrays. O(users · SHOWN + works log works): 2 s for the
    demo's.
    """
    begin_ms = world.dataset.snapshot.time_ms
    kinds = {}
    for at, (name, tastes) in enumerate(_tastes(world, seed).items()):
        rng = np.random.default_rng([seed, at])
        hours = OpeningHours.draw(len(tastes), rng) if name in ("live", "room") else None
        table, works_of = _items(name, tastes, snapshot, rng)
        shown = _log(tastes, hours, table, snapshot, begin_ms, rng)
        before = replace(
            ItemType(table, {}, MEANING[name]).to_snapshot(snapshot),
            time_ms=begin_ms,
            labels={},
            user_scene_counters=None,
        )
        after = advance(before, shown, snapshot.time_ms)
        of_kind = [*LISTS, *(["follows"] if MEANING[name].followed else [])]
        lists = {each: after.relations[each] for each in of_kind}
        kinds[name] = WorldKind(
            DerivedItemType(ItemType(after.works, lists, MEANING[name]), works_of), tastes, hours
        )
    return kinds


def _tastes(world: World, seed: int) -> dict[str, KindTastes]:
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
    name: str, tastes: KindTastes, snapshot: Snapshot, rng: np.random.Generator
) -> tuple[Table, Relation]:
    """What the platform knows of the items, and the works that their vectors are made of."""
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
    """For each of n items the latest WORKS_EACH works of each of its ``keys (M,)``, which belong to ``item
    (M,)``."""
    works = snapshot.works
    order = np.lexsort((-np.asarray(works[PUBLISHED]), works[role]))
    ordered = np.asarray(works[role])[order]
    low, high = np.searchsorted(ordered, keys), np.searchsorted(ordered, keys, side="right")
    count = np.minimum(high - low, WORKS_EACH)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows = order[np.repeat(low, count) + within]
    return Relation.from_pairs(np.repeat(item, count), np.asarray(works.ids)[rows], n)


def _log(
    tastes: KindTastes,
    hours: OpeningHours | None,
    table: Table,
    snapshot: Snapshot,
    begin_ms: int,
    rng: np.random.Generator,
) -> Impressions:
    """Items shown to users from ``begin_ms`` until the snapshot, and what users did; nobody is shown an own
    one."""
    people = tastes.truth.people
    n = SHOWN * len(people)
    user = weighted_rows(people.activity, n, rng)
    time_ms = np.sort(rng.integers(begin_ms, snapshot.time_ms, n))
    item = _drawn(tastes, hours, user, time_ms, rng)
    there = (
        np.flatnonzero((item >= 0) & (tastes.owners[item] != user))
        if tastes.owned
        else np.flatnonzero(item >= 0)
    )
    user, item, time_ms = user[there], item[there], time_ms[there]
    tastes.calibrate(user, item)
    chances = tastes.chances(user, item)
    coin = rng.random((len(chances), len(user)))
    labels = {}
    reached, before = np.ones(len(user), bool), np.ones(len(user))
    for name, draw in zip(chances, coin, strict=True):
        reached = reached & (draw * before < chances[name])
        before = chances[name]
        labels[name] = reached.astype(np.uint8)
    scene = np.full(len(user), -1, np.int32)
    return Impressions(
        np.asarray(snapshot.users.ids)[user], np.asarray(table.ids)[item], time_ms, scene, labels
    )


def _drawn(
    tastes: KindTastes,
    hours: OpeningHours | None,
    user: NDArray[Any],
    time_ms: NDArray[Any],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """(M,) the item that each is shown, −1 where none is there."""
    item = np.full(len(user), -1)
    for rows, there in _together(hours, time_ms, len(tastes)):
        if not len(there):
            continue
        looks = there[weighted_rows(tastes.weight[there], LOOKS * len(rows), rng)].reshape(LOOKS, -1)
        liking = [tastes.liking(user[rows], look) + NOISE * rng.standard_normal(len(rows)) for look in looks]
        best = looks[np.argmax(liking, axis=0), np.arange(len(rows))]
        item[rows] = np.where(rng.random(len(rows)) < 0.5, best, looks[0])
    return item


def _together(
    hours: OpeningHours | None, time_ms: NDArray[Any], n: int
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """(rows of a half hour, items that are there in its middle); all rows at once where items are always
    there."""
    if hours is None:
        return [(np.arange(len(time_ms)), np.arange(n))]
    half = time_ms // hours.HALF_HOUR_MS
    parts = np.split(np.arange(len(time_ms)), np.flatnonzero(np.diff(half)) + 1)
    middle = [int(half[rows[0]]) * hours.HALF_HOUR_MS + hours.HALF_HOUR_MS // 2 for rows in parts]
    everything = np.arange(n)
    return [
        (rows, np.flatnonzero(hours.open_at(everything, ms))) for rows, ms in zip(parts, middle, strict=True)
    ]
