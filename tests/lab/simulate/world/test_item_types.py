"""Item types other than works: from the same tastes, deterministic, with opening hours."""

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.item_types import make_item_types
from karec.times import HOUR_MS

MIDNIGHT_MS = 1_614_528_000_000  # a midnight in China


@pytest.fixture(scope="module")
def world():
    return make_world(2_000, 300, 6_000)


@pytest.fixture(scope="module")
def snapshot(world):
    return advance(
        world.dataset.snapshot, world.dataset.exposures, world.dataset.valid_until_ms
    ).drop_unpublished()


@pytest.fixture(scope="module")
def item_types(world, snapshot):
    return make_item_types(world, snapshot)


def test_item_types_are_a_function_of_the_seed(world, snapshot, item_types):
    repeated, reseeded = make_item_types(world, snapshot), make_item_types(world, snapshot, seed=1)
    for name, item_type in item_types.items():
        items = item_type.data.item_type.items
        for column, values in items.columns.items():
            np.testing.assert_array_equal(repeated[name].data.item_type.items[column], values)
        assert not np.array_equal(
            reseeded[name].data.item_type.items["count_exposed"], items["count_exposed"]
        )


def test_feedback_rates_equal_the_true_probabilities(item_types):
    rates = {"song": {"sing": 0.10}, "creator": {"follow": 0.02}, "room": {"join": 0.05}}
    rates["live"] = {"watch_1m": 0.25, "watch_5m": 0.10, "watch_30m": 0.025}
    for name, rates_of_labels in rates.items():
        columns = item_types[name].data.item_type.items.columns
        n_impressions = columns["count_exposed"].sum()
        for label, rate in rates_of_labels.items():
            off = 4 * np.sqrt(rate * (1 - rate) / n_impressions) + 0.01 * rate
            # The log also has impressions of songs without accompaniment and of followed creators.
            measured = columns[f"count_{label}"].sum() / n_impressions
            assert 0.7 * rate - off < measured < rate + off


def test_lists_have_items_of_the_type_and_new_follows(item_types, snapshot):
    for item_type in item_types.values():
        history = item_type.data.item_type.relations["history"]
        assert len(history) == len(snapshot.users)
        assert (item_type.data.item_type.items.lookup(history.values) >= 0).all()
    follows = item_types["creator"].data.item_type.relations["follows"]
    assert len(follows.values) > len(snapshot.relations["follows"].values)
    assert "follows" not in item_types["song"].data.item_type.relations


def test_item_vectors_use_works_of_the_host_or_the_songs(item_types, snapshot):
    works = snapshot.works
    live, room = item_types["live"].data, item_types["room"].data
    for row in range(5):
        rows = works.lookup(live.works_of.row_values(row))
        assert set(works["creator_id"][rows].tolist()) <= {int(live.item_type.items["creator_id"][row])}
        songs = works["song_id"][works.lookup(room.works_of.row_values(row))]
        assert set(songs.tolist()) <= set((1 + item_types["room"].tastes.songs[row]).tolist())


def test_impossible_feedback_has_no_value(world, item_types):
    songs = item_types["song"].tastes
    silent = np.flatnonzero(songs.accompaniment == 0)
    assert len(silent)
    assert not songs.value(np.zeros(len(silent), np.int64), silent).any()
    creators = item_types["creator"].tastes
    rows = np.arange(len(creators))
    assert not creators.value(creators.owners, rows).any()  # their own
    user, creator = np.divmod(world.truth.follow_keys, len(world.truth.people))
    place = np.full(len(world.truth.people), -1)
    place[creators.owners] = rows
    assert not creators.value(user, place[creator]).any()  # followed already


def test_value_of_a_live_room_is_the_watch_time(item_types):
    live = item_types["live"].tastes
    user, room = np.arange(100), np.arange(100)
    probabilities = live.probabilities(user, room)
    expected = (
        60 * probabilities["watch_1m"] + 240 * probabilities["watch_5m"] + 1500 * probabilities["watch_30m"]
    )
    np.testing.assert_allclose(live.value(user, room), expected)
    assert (probabilities["watch_5m"] <= probabilities["watch_1m"]).all()
    assert (probabilities["watch_30m"] <= probabilities["watch_5m"]).all()


def test_rooms_open_by_the_minute_and_mostly_in_the_evening(item_types, snapshot):
    live = item_types["live"]
    week = [len(live.open_ids(snapshot.time_ms + hour * HOUR_MS)) for hour in range(7 * 24)]
    by_hour = np.reshape(week, (7, 24)).mean(axis=0)
    assert by_hour[20:23].mean() > 1.5 * by_hour[4:7].mean()
    changes = [
        live.open_ids(snapshot.time_ms + 20 * HOUR_MS + minute * 60_000).tobytes() for minute in range(60)
    ]
    assert len(set(changes)) >= 5
    assert len(item_types["song"].open_ids(0)) == len(item_types["song"].data.item_type.items)


def test_room_stays_open_past_midnight_for_its_length(item_types):
    hours = item_types["live"].hours
    minutes = np.arange(0, 3 * 24 * 60, 10)
    rooms = np.arange(40)
    is_open = np.stack([hours.is_open_at(rooms, int(MIDNIGHT_MS + minute * 60_000)) for minute in minutes])
    for room in rooms:
        edges = np.flatnonzero(np.diff(is_open[:, room].astype(int), prepend=0, append=0))
        lengths = (edges[1::2] - edges[::2]) * 600_000
        assert (lengths <= 2 * hours.length_ms[room] + 600_000).all()  # hours of two days may join
    assert is_open[minutes % (24 * 60) == 0].any()
