"""Live rates with counters of an online store. In conftest.py work n has 10·(n − 99) views."""

import time
from dataclasses import replace

import numpy as np
import pytest

from karec.aggregates import recent
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.online.changed_items import ChangedItems, items_snapshot
from karec.online.view import OnlineView
from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.live_indicators import LiveIndicators
from karec.steps.sources.indicators import Indicators
from karec.times import DAY_MS, HOUR_MS

NAMES = ("count_exposed", "count_long_view")
WEIGHTS = {"long_view": 1.0}
LIKED, UPLOAD = 101, 500
M = 20  # prior_shows


def request(platform: Snapshot, changed: dict[int, tuple[int, int, int]], now_ms: int, uploads=()) -> Request:
    """Returns a request whose store has counted {item: (impressions, long views, ms ago)} since the base."""
    ids = np.array(sorted(changed), np.int64)
    base = items_snapshot(platform, platform.works.take(np.empty(0, np.int64)))
    if uploads:
        columns = {
            name: np.zeros(len(uploads), column.dtype) for name, column in platform.works.columns.items()
        }
        columns["creator_id"] = np.full(len(uploads), 2)
        base = items_snapshot(platform, Table(np.array(uploads), columns))
    rows = platform.works.lookup(ids)
    counters, states = np.zeros((len(ids), 2)), recent.empty(len(ids), 2)
    for place, item in enumerate(ids.tolist()):
        shows, views, ago_ms = changed[item]
        if rows[place] >= 0:
            counters[place] = [platform.works[name][rows[place]] for name in NAMES]
        counters[place] += [shows, views]
        events = (np.arange(shows)[:, None] < [shows, views]).astype(np.uint8)
        state = recent.states_of_events(np.full(shows, now_ms - ago_ms), events)
        states = recent.add(states, np.full(shows, place), state)
    items = ChangedItems(base, base, np.empty(0, np.int64), ids, counters, states)
    view = OnlineView(None, items, NAMES, NAMES)
    return replace(Request(1), time_ms=platform.time_ms).with_online(view)


def scores(step, request, ids):
    return step.score(request, Candidates.from_ids(np.array(ids))).tolist()


def smoothed(positives, shows, prior):
    return (positives + M * prior) / (shows + M)


def test_events_change_the_rate_of_the_item_and_its_creator(platform):
    step = LiveIndicators(platform, WEIGHTS)
    online = request(platform, {LIKED: (400, 400, 0)}, platform.time_ms)
    mean = (550 + 400) / (1000 + 400)
    creator = smoothed(10 + 20 + 70 + 100 + 400, 400 + 400, mean)  # works 100, 101, 106 and 109
    expected = [smoothed(20 + 400, 100 + 400, creator), smoothed(70, 100, creator)]
    np.testing.assert_allclose(scores(step, online, [LIKED, 106]), expected, rtol=1e-6)
    source = Indicators(platform, 3, WEIGHTS)
    assert source.recall(Request(1)).ids.tolist() == [109, 108, 107]
    assert source.recall(online).ids.tolist() == [109, 108, LIKED]
    assert source.recall(Request(1)).ids.tolist() == [109, 108, 107]


def test_uploaded_item_has_a_rate_and_is_recalled(platform):
    online = request(platform, {UPLOAD: (400, 400, 0)}, platform.time_ms, uploads=[UPLOAD])
    mean = (550 + 400) / (1000 + 400)
    creator = smoothed(30 + 40 + 80 + 400, 300 + 400, mean)  # works 102, 103 and 107 of creator 2
    expected = smoothed(400, 400, creator)
    np.testing.assert_allclose(
        scores(LiveIndicators(platform, WEIGHTS), online, [UPLOAD]), expected, rtol=1e-6
    )
    assert Indicators(platform, 3, WEIGHTS).recall(online).ids.tolist() == [UPLOAD, 109, 108]


def test_rate_by_column_is_that_of_all_items_with_the_value(platform):
    step = LiveIndicators(platform, WEIGHTS, by="song_id")
    online = request(platform, {LIKED: (400, 400, 0)}, platform.time_ms)
    mean = (550 + 400) / (1000 + 400)
    expected = smoothed(20 + 50 + 80 + 400, 300 + 400, mean)  # works 101, 104 and 107 of the song 51
    np.testing.assert_allclose(scores(step, online, [101, 104, 107]), [expected] * 3, rtol=1e-6)
    songs = np.where(platform.works["song_id"] == 52, -1, platform.works["song_id"])
    without = replace(platform, works=Table(platform.works.ids, {**platform.works.columns, "song_id": songs}))
    for half_life in (None, "hour"):
        step = LiveIndicators(without, WEIGHTS, "song_id", half_life)
        online = request(without, {102: (400, 400, 0)}, platform.time_ms)
        np.testing.assert_allclose(scores(step, online, [102, 105]), [mean] * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="by = 'songs' is not an integer column of items"):
        LiveIndicators(platform, WEIGHTS, by="songs")


@pytest.mark.parametrize("by", [None, "song_id"])
def test_half_life_forgets_old_events_and_keeps_the_rate_of_all(platform, by):
    every, hour = (LiveIndicators(platform, WEIGHTS, by, half_life) for half_life in (None, "hour"))
    for ago_ms, weight in ((0, 1.0), (HOUR_MS, 0.5), (DAY_MS, 0.0)):
        online = request(platform, {LIKED: (400, 400, ago_ms)}, platform.time_ms)
        (prior,) = scores(every, online, [LIKED])
        expected = smoothed(400 * weight, 400 * weight, prior)
        np.testing.assert_allclose(scores(hour, online, [LIKED]), expected, rtol=2e-3)


def test_clock_that_jumps_back_lets_no_recent_rate_grow(platform):
    step = LiveIndicators(platform, WEIGHTS, half_life="hour")
    online = request(platform, {LIKED: (400, 400, HOUR_MS)}, platform.time_ms)
    before = scores(step, online, [LIKED])
    early = replace(online, time_ms=platform.time_ms - 7 * HOUR_MS)
    assert scores(step, early, [LIKED]) == before
    fresh = LiveIndicators(replace(platform), WEIGHTS, half_life="hour")
    assert scores(fresh, early, [LIKED])[0] <= 1.0


def test_request_of_the_future_ages_no_recent_rate_of_others(platform):
    """The store has events of this minute, as a service does."""
    now_ms = time.time_ns() // 1_000_000
    step = LiveIndicators(platform, WEIGHTS, half_life="hour")
    online = replace(request(platform, {LIKED: (400, 400, 0)}, now_ms), time_ms=now_ms)
    before = scores(step, online, [LIKED])
    scores(step, replace(online, time_ms=now_ms + 30 * DAY_MS), [LIKED])
    np.testing.assert_allclose(scores(step, online, [LIKED]), before, rtol=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"half_life": "month"}, r"half_life is 'month', expected one of \('hour', 'day', 'week'\)"),
        ({"half_life": "day", "weights": {"smile": 1.0}}, r"weights have \['smile'\], expected some of"),
    ],
)
def test_wrong_half_life_is_refused(platform, settings, message):
    columns = {**platform.works.columns, "count_smile": np.zeros(10)}
    snapshot = replace(platform, works=Table(platform.works.ids, columns))
    with pytest.raises(ValueError, match=message):
        LiveIndicators(snapshot, **{"weights": WEIGHTS, **settings})
