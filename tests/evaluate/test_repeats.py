"""What stood near an exposure: counted as one would by hand, user by user."""

from dataclasses import replace

import numpy as np
import pytest

from karec.errors import DataError
from karec.evaluate.repeats import AGO, SESSION_MS, Feeds
from karec.simulate.world import make_world
from karec.simulate.world.satiation import repeats_of

WINDOWS = (1, 3, 8)


@pytest.fixture(scope="module")
def feeds(dataset):
    return Feeds.of(dataset)


def own_rows(feeds, at):
    """The rows of the user of row ``at``: those before it, and those after it."""
    rows = np.flatnonzero(feeds.user == feeds.user[at])
    return rows[rows < at], rows[rows > at]


def test_rows_are_each_users_exposures_in_order_of_time(dataset, feeds):
    assert len(feeds) == len(dataset.exposures)
    np.testing.assert_array_equal(np.lexsort((feeds.time_ms, feeds.user)), np.arange(len(feeds)))
    for at in range(0, len(feeds), 7):
        before, _ = own_rows(feeds, at)
        assert feeds.place[at] == len(before)
        assert feeds.pause_ms[at] == (feeds.time_ms[at] - feeds.time_ms[before[-1]] if len(before) else 0)
        assert feeds.first[at] == (feeds.work[at] not in feeds.work[before])
        pauses = np.flatnonzero(np.diff(feeds.time_ms[[*before, at]]) > SESSION_MS)
        assert feeds.in_session[at] == len(before) - (pauses[-1] + 1 if len(pauses) else 0)


@pytest.mark.parametrize("cause", ["creator", "tag", "song"])
@pytest.mark.parametrize("after", [False, True])
def test_repeats_are_other_works_of_the_same_value_within_the_window(feeds, cause, after):
    value, found = feeds.values[cause], feeds.repeats(cause, WINDOWS, after=after)
    for at in range(0, len(feeds), 5):
        before, later = own_rows(feeds, at)
        for n in WINDOWS:
            near = later[:n] if after else before[-n:]
            other = near[feeds.work[near] != feeds.work[at]]
            assert found[n][at] == (np.sum(value[other] == value[at]) if value[at] >= 0 else 0)


@pytest.mark.parametrize("cause", ["creator", "tag", "song", None])
def test_the_record_of_a_value_is_of_earlier_exposures_alone(feeds, cause):
    value = np.zeros(len(feeds), int) if cause is None else feeds.values[cause]
    shows, taken = feeds.earlier(cause, "click")
    _, given = feeds.earlier(cause, "like", "click")
    code = feeds.ago(cause)
    for at in range(0, len(feeds), 5):
        before, _ = own_rows(feeds, at)
        same = before[value[before] == value[at]] if value[at] >= 0 else before[:0]
        assert (shows[at], taken[at]) == (len(same), feeds.labels["click"][same].sum())
        assert given[at] == (feeds.labels["like"] * feeds.labels["click"])[same].sum()
        passed = feeds.time_ms[at] - feeds.time_ms[same[-1]] if len(same) else None
        assert code[at] == (0 if passed is None else 1 + sum(passed > limit for limit in AGO.values()))


def test_known_works_are_those_of_the_history(dataset, feeds):
    history, works = dataset.snapshot.relations["history"], dataset.snapshot.works
    ids = np.unique(dataset.exposures.user_id)
    for at in range(0, len(feeds), 11):
        (row,) = dataset.snapshot.users.lookup(ids[feeds.user[at : at + 1]])
        known = works["tag"][works.lookup(history.of(int(row)))]
        assert feeds.known["tag"][at] == np.sum(known == feeds.values["tag"][at])


def test_repeats_are_those_that_tire_the_worlds_users():
    world = make_world(500, 40, 3000, seed=2)
    feeds, shown = Feeds.of(world.dataset), world.dataset.exposures
    tag = world.truth.songs.tag[world.truth.works.song[world.dataset.snapshot.works.lookup(shown.work_id)]]
    tired = repeats_of(shown.user_id, tag, 4)[np.lexsort((shown.time_ms, shown.user_id))]
    np.testing.assert_array_equal(feeds.repeats("tag", [4])[4][feeds.first], tired[feeds.first])


def without(dataset, *roles):
    works = dataset.snapshot.works
    kept = {name: column for name, column in works.columns.items() if name not in roles}
    return replace(dataset, snapshot=replace(dataset.snapshot, works=replace(works, columns=kept)))


def with_rows(dataset, rows):
    return replace(dataset, exposures=dataset.exposures.take(rows))


def with_clicks(dataset, value):
    labels = dict(dataset.exposures.labels, click=np.full(len(dataset.exposures), value, np.uint8))
    return replace(dataset, exposures=replace(dataset.exposures, labels=labels))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: replace(data, timeless=True), "tiny has no times.*name the column of times"),
        (lambda data: replace(data, drawn=0.5), "log of positives alone.*a log of what was shown is needed"),
        (lambda data: without(data, "creator_id", "tag", "song_id"), "no creator, tag or song.*roles"),
        (lambda data: with_rows(data, data.exposures.user_id == 3), "exposures are of 1 users"),
        (
            lambda data: with_rows(data, np.unique(data.exposures.user_id, return_index=True)[1]),
            "no user has two",
        ),
        (lambda data: with_rows(data, slice(0, 0)), "label 'click' has no exposures"),
        (lambda data: with_clicks(data, 1), "label 'click' has no negative.*task = false of it"),
        (lambda data: with_clicks(data, 0), "label 'click' has no positive.*task = false"),
    ],
)
def test_data_that_cannot_say_what_followed_what_are_refused_by_name(dataset, spoil, words):
    with pytest.raises(DataError, match=words):
        Feeds.of(spoil(dataset))


def test_a_creator_alone_is_enough(dataset):
    assert list(Feeds.of(without(dataset, "tag", "song_id")).values) == ["creator"]
