"""Recorded events of users and items change the next request of a live cascade."""

import gc
import resource
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from live_bundle import ask, live_config
from redis_server import PROGRAM, WHY_NOT, RedisServer

from karec.aggregates.advance import advance
from karec.aggregates.events import Events
from karec.bundle import Bundle
from karec.catalog.impressions import Impressions
from karec.config import open_hot_swap
from karec.config.check import config_mistakes
from karec.errors import ConfigError, DataError, KarecError, Unavailable
from karec.features.encoder import USER_SIDE
from karec.online.event_log.reader import read_events
from karec.online.store.open import open_store
from karec.online.store.store import CURSOR
from karec.pipeline.types import Candidates, Request
from karec.steps.hydrators.ranker import Ranker
from karec.steps.query.user_features import UserFeatures

HOUR = 3_600_000
USER, OTHER, STRANGER = 1, 2, 987_654
PATIENT = "deadline_ms = 10000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle that the tests of this module share; each has a log of its own."""
    pytest.importorskip("lmdb")
    folder = tmp_path_factory.mktemp("live")
    live_config(folder)
    return folder


@pytest.fixture
def path(folder, tmp_path):
    """Path of a karec.toml whose log and store are in ``tmp_path``, and its bundle elsewhere."""
    text = (folder / "karec.toml").read_text().replace('"bundles"', f'"{folder / "bundles"}"')
    (tmp_path / "karec.toml").write_text(text.replace('"memory:"', '"state"'))
    return tmp_path / "karec.toml"


@pytest.fixture
def live(path):
    with open_hot_swap(path, None) as live:
        yield live


@pytest.fixture(scope="module")
def snapshot(folder):
    return Bundle.open(folder / "bundles").snapshot


@pytest.fixture
def now(snapshot):
    return snapshot.time_ms + HOUR


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    pytest.importorskip("redis")
    if PROGRAM is None:
        pytest.skip(WHY_NOT)
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.stop()


def ids_of(feed):
    return [item.item_id for item in feed]


def exposure(user, work, *labels, **more):
    return {"kind": "exposure", "user": user, "work": work, "labels": labels, "scene": "home", **more}


def test_request_inputs_equal_those_of_a_new_bundle(live, folder, snapshot, now):
    """Vectors, histories and counters (user, scene, item) have equal bits."""
    bundle, rng = Bundle.open(folder / "bundles"), np.random.default_rng(5)
    n = 60
    users, works = rng.choice(snapshot.users.ids[:4], n), rng.choice(snapshot.works.ids, n)
    bits, scenes = rng.random((n, 3)) < 0.4, rng.integers(0, 2, n)
    names = ("click", "like", "follow")
    rows = [
        exposure(
            int(u), int(w), *(label for label, bit in zip(names, of, strict=True) if bit), time_ms=now + at
        )
        | {"scene": ("home", "city")[scene]}
        for at, (u, w, of, scene) in enumerate(zip(users, works, bits, scenes, strict=True))
    ]
    assert live.record(rows, now_ms=now + n).events == n
    labels = {name: np.zeros(n, np.uint8) for name in ("click", "long_view", "like", "follow")}
    labels |= {name: bits[:, at].astype(np.uint8) for at, name in enumerate(names)}
    happened = Impressions(users, works, now + np.arange(n), scenes.astype(np.int64), labels)
    later = advance(snapshot, happened, now + n)
    hydrator = UserFeatures(later, bundle.encoder)
    ranker = Ranker(bundle.ranker, later, bundle.encoder)
    for user in (*snapshot.users.ids[:6].tolist(), STRANGER):
        feed = ask(live, user, scene="city", time_ms=now + n)
        features = hydrator.hydrate_request(Request(user, scene="city", time_ms=now + n))
        for name in USER_SIDE:
            np.testing.assert_array_equal(feed.request.features[name], features[name], name)
        (vector,) = bundle.user_tower.run(features, "user_vector")
        assert feed.request.features["user_vector"].tobytes() == vector.tobytes()
        pool = feed.scored["rank"]
        asked = Request(user, scene="city", time_ms=now + n, features=features)
        logits = ranker.hydrate(asked, Candidates.from_ids(pool.ids))["logits"]
        assert len(pool) and pool.columns["logits"].tobytes() == logits.tobytes()


def test_like_changes_the_user_vector_of_the_next_request(live, now):
    before = ask(live, USER, scene="city", time_ms=now)
    liked = before.items[-1].item_id
    assert live.record([exposure(USER, liked, "click", "like")], now_ms=now) == type(live.record([]))(1)
    after = ask(live, USER, scene="city", time_ms=now)
    assert not np.array_equal(before.request.features["user_vector"], after.request.features["user_vector"])
    others = ask(live, OTHER, scene="city", time_ms=now).request.features["user_vector"]
    live.record([exposure(USER, liked, "click")], now_ms=now)
    np.testing.assert_array_equal(
        ask(live, OTHER, scene="city", time_ms=now).request.features["user_vector"], others
    )


def test_shown_items_are_repeated_only_in_scenes_that_allow_repeats(live, now):
    shown = ids_of(ask(live, USER, 5, time_ms=now))
    live.record([exposure(USER, work) for work in shown], now_ms=now)
    assert not {*shown} & {*ids_of(ask(live, USER, time_ms=now))}
    assert {*shown} <= {*ids_of(ask(live, USER, scene="city", time_ms=now))}
    assert {*shown} <= {*ids_of(ask(live, OTHER, time_ms=now))}


def test_follow_source_reads_recorded_follows_and_unfollows(live, snapshot, now):
    creator = int(snapshot.works["creator_id"][0])
    live.record([{"kind": "follow", "user": STRANGER, "creator": creator}], now_ms=now)
    feed = ask(live, STRANGER, time_ms=now)
    followed = [item.item_id for item in feed if "follow" in item.sources]
    made = snapshot.works.ids[snapshot.works["creator_id"] == creator]
    assert followed and {*followed} <= {*made.tolist()}
    live.record([{"kind": "unfollow", "user": STRANGER, "creator": creator}], now_ms=now + 1)
    assert not any("follow" in item.sources for item in ask(live, STRANGER, time_ms=now))


def test_restarted_service_has_the_events_of_its_log(path, live, now):
    shown = ids_of(ask(live, USER, 5, time_ms=now))
    live.record([exposure(USER, work, "like") for work in shown], now_ms=now)
    first = ask(live, USER, time_ms=now)
    live.close()
    with open_hot_swap(path, None) as again:
        second = ask(again, USER, time_ms=now)
        assert ids_of(second) == ids_of(first)
        np.testing.assert_array_equal(second.candidates.scores, first.candidates.scores)


def test_lost_store_is_rebuilt_from_the_log(path, live, now):
    shown = ids_of(ask(live, USER, 5, time_ms=now))
    live.record([exposure(USER, work, "like") for work in shown], now_ms=now)
    first = ask(live, USER, time_ms=now)
    live.close()
    path.write_text(path.read_text().replace('"state"', '"memory:"'))
    with open_hot_swap(path, None) as again:
        assert ids_of(ask(again, USER, time_ms=now)) == ids_of(first)


def test_shared_store_counts_each_event_of_two_services_once(path, redis, now):
    redis.empty()
    path.write_text(path.read_text().replace('"state"', f'"{redis.url}"\n{PATIENT}'))
    with open_hot_swap(path, None) as one, open_hot_swap(path, None) as two:
        for at in range(12):
            (one, two)[at % 2].record([exposure(STRANGER, 100, "click", time_ms=now + at)], now_ms=now + at)
        for live in (one, two):
            live.record([], now_ms=now + 20)
            exposed = np.expm1(
                ask(live, STRANGER, scene="city", time_ms=now).request.features["user_numbers"] / 0.25
            )
            assert np.isclose(exposed, 12, rtol=1e-4).any()
    with open_hot_swap(path, None) as three:
        view, why = three.cascades["home"].online.view(STRANGER)
        assert why is None
        assert view.user.counters[0] == 12


def test_store_emptied_in_operation_is_rebuilt_from_the_log(path, redis, now):
    redis.empty()
    path.write_text(path.read_text().replace('"state"', f'"{redis.url}"\n{PATIENT}'))
    with open_hot_swap(path, None) as live:
        shown = ids_of(ask(live, USER, 5, time_ms=now))
        live.record([exposure(USER, work) for work in shown], now_ms=now)
        redis.empty()
        assert {*shown} <= {*ids_of(ask(live, USER, time_ms=now))}  # nothing is known of them
        live.record([exposure(OTHER, shown[0])], now_ms=now + 1)
        assert not {*shown} & {*ids_of(ask(live, USER, time_ms=now))}
        assert shown[0] not in ids_of(ask(live, OTHER, time_ms=now))


def test_slow_or_stopped_store_degrades_pages_and_loses_no_event(path, now, tmp_path):
    redis = pytest.importorskip("redis")
    if PROGRAM is None:
        pytest.skip(WHY_NOT)
    server = RedisServer(tmp_path)
    path.write_text(path.read_text().replace('"state"', f'"{server.url}"'))
    with open_hot_swap(path, None) as live:
        ask(live, USER, time_ms=now)
        with redis.Redis.from_url(server.url) as client:
            client.client_pause(60_000)
        slow = ask(live, USER, time_ms=now)
        assert slow.degraded == ("request.state",) and len(slow)
        told = live.record([exposure(OTHER, ids_of(slow)[0])], now_ms=now)
        # and not two seconds later, when the server's connection ends
        assert told.events == 1 and told.waiting
        assert "the state store" in told.waiting and " 20 ms" in told.waiting
        server.stop()
        shown = ids_of(slow)[:3]
        told = live.record([exposure(USER, work, "like") for work in shown], now_ms=now)
        assert told.events == 3 and told.waiting
        live.record([{"kind": "delete", "work": ids_of(slow)[3]}], now_ms=now)
        gone = ask(live, USER, time_ms=now)
        assert gone.degraded == ("request.state",) and len(gone) == len(slow) - 1
        assert ids_of(slow)[3] not in ids_of(gone)  # what became of works needs no store
    server = RedisServer(tmp_path)  # with nothing in it
    path.write_text(path.read_text().replace("events =", f"{PATIENT}\nevents ="))
    with open_hot_swap(path, None) as live:
        feed = ask(live, USER, time_ms=now)
        assert not feed.degraded and not {*shown} & {*ids_of(feed)}
    server.stop()


@pytest.mark.parametrize(("deadline_ms", "degraded"), [(20, True), (10_000, False)])
def test_page_is_degraded_only_if_the_store_exceeds_deadline_ms(path, redis, now, deadline_ms, degraded):
    redis.empty()
    path.write_text(path.read_text().replace('"state"', f'"{redis.url}"\ndeadline_ms = {deadline_ms}'))
    clients = pytest.importorskip("redis").Redis
    with open_hot_swap(path, None) as live, clients.from_url(redis.url) as client:
        client.client_pause(1_000 if degraded else 100)
        feed = ask(live, USER, time_ms=now)
        assert len(feed) and feed.degraded == (("request.state",) if degraded else ())
        failure = feed.trace.steps[0].failure
        assert (failure is not None and "the state store did not answer within 20 ms" in failure) == degraded


def test_reload_is_refused_until_the_store_has_blocked_items(path, now, tmp_path):
    pytest.importorskip("redis")
    if PROGRAM is None:
        pytest.skip(WHY_NOT)
    redis = RedisServer(tmp_path)
    path.write_text(
        path.read_text().replace('"state"', f'"{redis.url}"').replace("events =", f"{PATIENT}\nevents =")
    )
    with open_hot_swap(path, None) as live:
        blocked, later = ids_of(ask(live, USER, time_ms=now))[:2]
        live.record([{"kind": "block", "work": blocked}], now_ms=now)
        redis.stop()
        path.write_text(path.read_text() + "\n")
        with pytest.raises(Unavailable, match="the state store cannot say what became of works"):
            live.reload()
        live.record([{"kind": "block", "work": later}], now_ms=now)
        assert not {blocked, later} & {*ids_of(ask(live, USER, time_ms=now))}
        redis = RedisServer(tmp_path)
        while not live.reloads.done:  # a failed server is not tried again for a second
            with suppress(Unavailable):
                live.reload()
        assert not {blocked, later} & {*ids_of(ask(live, USER, time_ms=now))}
    redis.stop()


def test_service_starts_without_its_store(path, now, tmp_path):
    pytest.importorskip("redis")
    path.write_text(path.read_text().replace('"state"', f'"unix://{tmp_path}/nobody"'))
    with open_hot_swap(path, None) as live:
        feed = ask(live, USER, time_ms=now)
        assert feed.degraded == ("request.state",) and len(feed)
        told = live.record([exposure(USER, feed.items[0].item_id)], now_ms=now)
        assert (told.events, bool(told.waiting)) == (1, True)


@contextmanager
def files_of_at_most(n_bytes):
    """Files cannot grow beyond ``n_bytes``, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_reported_and_requests_continue(live, now):
    live.record([exposure(OTHER, 100)], now_ms=now)
    shown = ids_of(ask(live, USER, 5, time_ms=now))
    rows = [exposure(USER, work) for work in shown]
    with files_of_at_most(1):
        told = live.record(rows, now_ms=now)
        assert (told.events, told.refused) == (0, {"the log cannot be written": 5}) and told.waiting
        assert {*shown} <= {*ids_of(ask(live, USER, time_ms=now))}
    with files_of_at_most(20_000):  # enough for the log, too little for the store
        told = live.record(rows, now_ms=now)
        assert told.events == 5 and told.waiting
        assert ask(live, USER, time_ms=now).degraded == ("request.state",), (
            "the page does not use events that the store did not take"
        )
    until = time.monotonic() + 30
    # the polling thread tries the store again
    while live.record([], now_ms=now).waiting is not None:
        assert time.monotonic() < until
    feed = ask(live, USER, time_ms=now)
    assert not {*shown} & {*ids_of(feed)} and not feed.degraded


BAD = [
    ({"kind": "likes", "user": 1}, "unknown kind"),
    ({"kind": "exposure", "usr": 1, "work": 100}, "unknown key 'usr'"),
    ({"kind": "exposure", "user": "anna", "work": 100}, "user is no whole number"),
    ({"kind": "exposure", "user": True, "work": 100}, "user is no whole number"),
    ({"kind": "exposure", "user": 1, "work": 100, "scene": ["home"]}, "scene is no text"),
    ({"kind": "exposure", "user": 1, "work": 100, "request_id": {}}, "request_id is no text"),
    ({"kind": "exposure", "user": 1, "work": 100, "labels": {}}, "labels are no list of names"),
    ({"kind": "search", "user": 1, "text": [1]}, "text is no text"),
    ({"kind": "exposure", "user": 2**70, "work": 100}, "user is beyond 64 bits"),
    ({"kind": "exposure", "user": 1, "work": 100, "position": 2**40}, "position is beyond 32 bits"),
    ({"kind": "exposure", "user": 1}, "no work"),
    ({"kind": "exposure", "user": 1, "work": 100, "labels": ["loved"]}, "unknown label"),
    ({"kind": "exposure", "user": 1, "work": 100, "labels": "like"}, "labels are no list of names"),
    ({"kind": "exposure", "user": 1, "work": 100, "time_ms": 5}, "too late"),
    ({"kind": "exposure", "user": 1, "work": 100, "time_ms": 2**60}, "impossible time"),
    ({"kind": "exposure", "user": 1, "work": 100, "time_ms": "noon"}, "time_ms is no whole number"),
    ({"kind": "exposure", "user": 1, "work": 100, "id": "7"}, "id is no UUID"),
    ({"kind": "upload", "work": 900, "creator": 3, "columns": [3]}, "columns are no table"),
    ({"kind": "upload", "work": 900, "columns": {}}, "no creator"),
    (
        {"kind": "upload", "work": 900, "creator": 3, "columns": {"tag": np.arange(2)}},
        "columns hold what is no number, text or truth value",
    ),
    (
        {"kind": "upload", "work": 900, "creator": 3, "columns": {"tag": 10**5000}},
        "columns hold a number of too many digits",
    ),
    ({"kind": "play", "user": 1, "work": 100}, "impossible play_ms"),
    ("exposure", "a row is no table"),
]


def test_invalid_events_are_counted_by_reason_and_others_recorded(live, now):
    told = live.record([*(row for row, _ in BAD), exposure(USER, 100)], now_ms=now)
    assert told.events == 1
    assert told.refused == Counter(reason for _, reason in BAD)
    assert not ask(live, USER, time_ms=now).degraded


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("labels", [np.arange(2)], {"unknown label": 1}),
        ("kind", np.arange(2), {"unknown kind": 1}),
        ("scene", np.arange(2), {"scene is no text": 1}),
        ("labels", None, {}),
        ("request_id", None, {}),
        ("scene", None, {}),
    ],
)
def test_record_treats_a_value_of_none_as_absent(live, path, now, key, value, told):
    assert live.record([{**exposure(USER, 100), key: value}], now_ms=now).refused == told
    events = read_events(path.parent / "events", 0, now + 1)
    assert events.request_id.tolist() == [""] * (not told)


@pytest.mark.parametrize("moment", [1.5, "noon", 0, -5, 2**60])
def test_record_refuses_an_invalid_now_ms(live, moment):
    with pytest.raises(ValueError, match=r"now_ms is .* expected Unix milliseconds"):
        live.record([exposure(USER, 100)], now_ms=moment)


def test_store_with_a_damaged_cursor_is_refused(path, now):
    with open_hot_swap(path, None) as live:
        live.record([exposure(USER, 100)], now_ms=now)
    store = open_store(str(path.parent / "state"))
    store.commit({CURSOR: b"damaged"}, store.read([CURSOR])[0])
    store.close()
    with pytest.raises(DataError, match="the position in the log is damaged"):
        open_hot_swap(path, None)


def test_repeated_event_counts_once(live, now):
    row = exposure(STRANGER, 100, "like", id="6f1c7f52-8f4e-4a4b-9d0f-2f5f0a3e5b11", time_ms=now)
    live.record([row, row], now_ms=now)
    live.record([row], now_ms=now + 5)
    assert live.event_counts["repeated"] == 2
    assert live.cascades["home"].online.view(STRANGER)[0].user.counters[0] == 1


def test_record_accepts_events_in_columns(live, snapshot, now):
    works = snapshot.works.ids[:3]
    before = ask(live, USER, time_ms=now)
    shown = Events.from_columns(
        "exposure", source=9, number=np.arange(3), time_ms=now, user_id=USER, item_id=works, scene=0
    )
    assert live.record(shown, now_ms=now).events == 3
    after = ask(live, USER, time_ms=now)
    assert not {*works.tolist()} & {*ids_of(after)}
    assert after.versions["live_batch"] == before.versions["live_batch"] + 1


def test_hot_swap_deleted_without_close_ends_its_thread(path, now):
    live = open_hot_swap(path, None)
    live.record([exposure(USER, 100)], now_ms=now)
    (thread,) = [each for each in threading.enumerate() if each.name == "karec-follow"]
    del live
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_reloaded_bundle_continues_from_the_same_log(tmp_path, now):
    pytest.importorskip("lmdb")
    path = live_config(tmp_path, state="state")
    with open_hot_swap(path, None) as live:
        shown = ids_of(ask(live, USER, 5, time_ms=now))
        live.record([exposure(USER, work) for work in shown], now_ms=now)
        live.record([{"kind": "upload", "work": 9001, "creator": 3}], now_ms=now)
        (tmp_path / "run").rename(tmp_path / "former")
        (tmp_path / "bundles").rename(tmp_path / "older")
        path.write_text(path.read_text().replace('"bundles"', '"older"'))
        assert live.reload()
        feed = ask(live, USER, time_ms=now)
        assert 9001 in ids_of(feed) and not {*shown} & {*ids_of(feed)}
        live.record([exposure(USER, 9001)], now_ms=now)
        assert 9001 not in ids_of(ask(live, USER, time_ms=now))


def test_reload_succeeds_if_a_logged_user_was_shown_every_item(path, live, snapshot, now):
    assert len(ask(live, USER, time_ms=now))
    live.record([exposure(USER, work) for work in snapshot.works.ids.tolist()], now_ms=now)
    assert not len(ask(live, USER, time_ms=now))
    path.write_text(path.read_text() + "\n")
    assert live.reload()


def test_reload_refuses_another_log_store_or_deadline(path, live, now):
    text = path.read_text()
    path.write_text(text.replace('"events"', '"events"\nmargin = 0.5\nrefresh_share = 0'))
    assert live.reload() and live.record([exposure(USER, 100)], now_ms=now).events == 1
    for before, after, why in (
        ('events = "events"', 'events = "elsewhere"', "live.events: changed from 'events' to 'elsewhere'"),
        ('state = "state"', 'state = "other"', "live.state: changed from"),
        ('state = "state"', 'state = "state"\ndeadline_ms = 5', "live.deadline_ms: changed from 20.0 to 5.0"),
        (
            '[live]\nstate = "state"\nevents = "events"\n',
            "",
            "live: a running service keeps its log and store",
        ),
    ):
        assert before in text
        path.write_text(text.replace(before, after))
        with pytest.raises(ConfigError, match=why):
            live.reload()
    assert live.record([exposure(USER, 101)], now_ms=now).events == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{ use = "top_k" }', '{ use = "top_l" }'),
        (
            """    { use = "model", quota = 60 },
    { use = "popular", quota = 40 },
    { use = "fresh", quota = 40 },
""",
            "",
        ),
    ],
    ids=["an unknown step", "a replayed request that gets no item"],
)
def test_refused_reload_with_a_new_live_table_opens_no_log(path, now, before, after):
    text = path.read_text()
    without = text.replace('[live]\nstate = "state"\nevents = "events"\n', "")
    path.write_text(without)
    with open_hot_swap(path, None) as live:
        assert len(ask(live, STRANGER, time_ms=now)) and before in text
        path.write_text(text.replace(before, after))
        for _ in range(2):
            with pytest.raises(KarecError):
                live.reload()
        with pytest.raises(ValueError, match="there is no event log"):
            live.record([], now_ms=now)
        path.write_text(without + "\n")
        assert live.reload(), "the table has never been in service"
        path.write_text(text)
        assert live.reload() and live.record([exposure(USER, 100)], now_ms=now).events == 1


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('state = "http://localhost"', "state = 'http://localhost', expected memory:"),
        ('state = "s"\ndeadline_ms = 0', "deadline_ms = 0, expected more than 0, at most 10000"),
        ('state = "s"\nevent = "e"', "unknown key 'event' (did you mean 'events'?)"),
        ("state = 3", "state"),
        ('state = "s"\nscreen = "nothing.toml"', "live.screen: "),
    ],
)
def test_config_mistakes_names_a_mistake_of_the_live_table(path, line, what):
    path.write_text(path.read_text().replace('state = "state"', line))
    told = config_mistakes(path)
    assert len(told) == 1 and what in told[0]


def test_config_mistakes_has_every_mistake_of_the_live_table(path):
    path.write_text(
        path.read_text().replace('state = "state"', 'state = 3\nevent = "e"\ndeadline_ms = "soon"')
    )
    told = config_mistakes(path)
    assert len(told) == 3 and all(": live" in each for each in told)


def test_record_raises_without_a_live_table(path):
    text = path.read_text()
    path.write_text(text[: text.index("[live]")] + text[text.index("[scenes.home]") :])
    with open_hot_swap(path, None) as live:
        assert live.event_counts == {} and ask(live, USER).trace.steps[0].step == "user_features"
        with pytest.raises(ValueError, match="there is no event log"):
            live.record([])
