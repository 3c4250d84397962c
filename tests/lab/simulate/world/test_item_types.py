"""What the world's scenes recommend beside works: from the same tastes, the same for one seed, open when they
are."""

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.item_types import make_kinds
from karec.times import HOUR_MS


@pytest.fixture(scope="module")
def world():
    return make_world(2_000, 300, 6_000)


@pytest.fixture(scope="module")
def snapshot(world):
    return advance(
        world.dataset.snapshot, world.dataset.exposures, world.dataset.valid_until_ms
    ).drop_unpublished()


@pytest.fixture(scope="module")
def kinds(world, snapshot):
    return make_kinds(world, snapshot)


def test_the_same_seed_gives_the_same_kinds_and_another_one_others(world, snapshot, kinds):
    again, others = make_kinds(world, snapshot), make_kinds(world, snapshot, seed=1)
    for name, kind in kinds.items():
        items = kind.made.item_type.items
        for column, values in items.columns.items():
            np.testing.assert_array_equal(again[name].made.item_type.items[column], values)
        assert not np.array_equal(others[name].made.item_type.items["count_exposed"], items["count_exposed"])


def test_what_users_did_was_as_likely_as_the_truth_says(kinds):
    rates = {"song": {"sing": 0.10}, "creator": {"follow": 0.02}, "room": {"join": 0.05}}
    rates["live"] = {"watch_1m": 0.25, "watch_5m": 0.10, "watch_30m": 0.025}
    for name, of_labels in rates.items():
        columns = kinds[name].made.item_type.items.columns
        shown = columns["count_exposed"].sum()
        for label, rate in of_labels.items():
            off = 4 * np.sqrt(rate * (1 - rate) / shown) + 0.01 * rate
            # what cannot be sung, or is followed already, was shown too
            assert columns[f"count_{label}"].sum() / shown < rate + off
            assert columns[f"count_{label}"].sum() / shown > 0.7 * rate - off


def test_lists_hold_items_of_the_kind_and_creators_followed_since_are_among_the_follows(kinds, snapshot):
    for kind in kinds.values():
        history = kind.made.item_type.relations["history"]
        assert len(history) == len(snapshot.users)
        assert (kind.made.item_type.items.lookup(history.values) >= 0).all()
    follows = kinds["creator"].made.item_type.relations["follows"]
    assert len(follows.values) > len(snapshot.relations["follows"].values)
    assert "follows" not in kinds["song"].made.item_type.relations


def test_a_vector_is_made_of_the_hosts_works_or_of_the_rooms_songs(kinds, snapshot):
    works = snapshot.works
    live, room = kinds["live"].made, kinds["room"].made
    for row in range(5):
        rows = works.lookup(live.works_of.row_values(row))
        assert set(works["creator_id"][rows].tolist()) <= {int(live.item_type.items["creator_id"][row])}
        songs = works["song_id"][works.lookup(room.works_of.row_values(row))]
        assert set(songs.tolist()) <= set((1 + kinds["room"].tastes.songs[row]).tolist())


def test_what_cannot_be_done_is_worth_nothing(world, kinds):
    songs = kinds["song"].tastes
    silent = np.flatnonzero(songs.accompaniment == 0)
    assert len(silent)
    assert not songs.value(np.zeros(len(silent), np.int64), silent).any()
    creators = kinds["creator"].tastes
    everyone = np.arange(len(creators))
    assert not creators.value(creators.owners, everyone).any()  # oneself
    user, creator = np.divmod(world.truth.follow_keys, len(world.truth.people))
    place = np.full(len(world.truth.people), -1)
    place[creators.owners] = everyone
    assert not creators.value(user, place[creator]).any()  # followed already


def test_the_time_watched_is_what_its_labels_are_worth(kinds):
    live = kinds["live"].tastes
    user, room = np.arange(100), np.arange(100)
    chances = live.chances(user, room)
    expected = 60 * chances["watch_1m"] + 240 * chances["watch_5m"] + 1500 * chances["watch_30m"]
    np.testing.assert_allclose(live.value(user, room), expected)
    assert (chances["watch_5m"] <= chances["watch_1m"]).all()
    assert (chances["watch_30m"] <= chances["watch_5m"]).all()


def test_rooms_open_and_close_by_the_minute_and_more_are_open_in_the_evening(kinds, snapshot):
    live = kinds["live"]
    week = [len(live.on_at(snapshot.time_ms + hour * HOUR_MS)) for hour in range(7 * 24)]
    by_hour = np.reshape(week, (7, 24)).mean(axis=0)
    assert by_hour[20:23].mean() > 1.5 * by_hour[4:7].mean()
    changes = [
        live.on_at(snapshot.time_ms + 20 * HOUR_MS + minute * 60_000).tobytes() for minute in range(60)
    ]
    assert len(set(changes)) >= 5
    assert len(kinds["song"].on_at(0)) == len(kinds["song"].made.item_type.items)


def test_a_room_stays_open_past_midnight_and_never_longer_than_its_length(kinds):
    hours = kinds["live"].hours
    minutes = np.arange(0, 3 * 24 * 60, 10)
    rooms = np.arange(40)
    open_ = np.stack([hours.open_at(rooms, int(kinds_start + minute * 60_000)) for minute in minutes])
    for room in rooms:
        edges = np.flatnonzero(np.diff(open_[:, room].astype(int), prepend=0, append=0))
        lengths = (edges[1::2] - edges[::2]) * 600_000
        assert (lengths <= 2 * hours.length_ms[room] + 600_000).all()  # two days' hours may meet
    assert open_[minutes % (24 * 60) == 0].any()


kinds_start = 1_614_528_000_000  # a midnight in China
