"""Recorded events of users and items change the next request of a live cascade."""

import gc
import resource
import shutil
import threading
import time
from collections import Counter
from contextlib import contextmanager
from uuid import uuid4

import numpy as np
import pytest
from live_bundle import ask, live_config
from valkey_server import PROGRAMS, REASON, ValkeyServer

from karec.aggregates.advance import advance
from karec.aggregates.events import Events
from karec.bundle import Bundle
from karec.catalog.impressions import Impressions
from karec.config import open_hot_swap
from karec.config.check import config_mistakes
from karec.errors import ConfigError, DataError, KarecError, Unavailable
from karec.features.encoder import USER_SIDE
from karec.online.read_log import EventSource, read_log
from karec.online.store.sqlite import SqliteStore
from karec.pipeline.types import Candidates, Request
from karec.steps.hydrators.ranker import Ranker
from karec.steps.query.user_features import UserFeatures

HOUR = 3_600_000
USER, OTHER, STRANGER = 1, 2, 987_654
PATIENT = "deadline_ms = 10000"


@pytest.fixture
def path(folder, tmp_path):
    """Path of a karec.toml whose store is in ``tmp_path``, and its bundle elsewhere."""
    text = (folder / "karec.toml").read_text().replace('"bundles"', f'"{folder / "bundles"}"')
    (tmp_path / "karec.toml").write_text(text)
    return tmp_path / "karec.toml"


@pytest.fixture
def live(path):
    with open_hot_swap(path, None) as live:
        yield live


@pytest.fixture
def valkey(path, tmp_path):
    """A server, which the karec.toml at ``path`` names."""
    pytest.importorskip("valkey")
    if not PROGRAMS:
        pytest.skip(REASON)
    server = ValkeyServer(tmp_path)
    path.write_text(path.read_text().replace('"sqlite:online.db"', f'"{server.url}"\n{PATIENT}'))
    yield server
    server.resume()
    server.kill()


@pytest.fixture(params=["sqlite", "valkey"])
def path_of_any_store(path, request):
    if request.param == "valkey":
        request.getfixturevalue("valkey")
    return path


def ids_of(feed):
    return [item.item_id for item in feed]


def exposure(user, work, *labels, **more):
    row = {"event": "impression", "user_id": user, "item_id": work, "labels": labels, "scene": "home"}
    return row | more


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
        user_request = Request(user, scene="city", time_ms=now + n, features=features)
        logits = ranker.hydrate(user_request, Candidates.from_ids(pool.ids))["logits"]
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
    live.record([{"event": "follow", "user_id": STRANGER, "creator_id": creator}], now_ms=now)
    feed = ask(live, STRANGER, time_ms=now)
    followed = [item.item_id for item in feed if "follow" in item.sources]
    made = snapshot.works.ids[snapshot.works["creator_id"] == creator]
    assert followed and {*followed} <= {*made.tolist()}
    live.record([{"event": "unfollow", "user_id": STRANGER, "creator_id": creator}], now_ms=now + 1)
    assert not any("follow" in item.sources for item in ask(live, STRANGER, time_ms=now))


def test_restarted_service_has_the_events_of_its_store(path, live, now):
    shown = ids_of(ask(live, USER, 5, time_ms=now))
    live.record([exposure(USER, work, "like") for work in shown], now_ms=now)
    first = ask(live, USER, time_ms=now)
    live.close()
    with open_hot_swap(path, None) as again:
        second = ask(again, USER, time_ms=now)
        assert ids_of(second) == ids_of(first)
        np.testing.assert_array_equal(second.candidates.scores, first.candidates.scores)


def test_shared_store_counts_each_event_of_two_services_once(path_of_any_store, now):
    with open_hot_swap(path_of_any_store, None) as one, open_hot_swap(path_of_any_store, None) as two:
        for at in range(12):
            (one, two)[at % 2].record([exposure(STRANGER, 100, "click", time_ms=now + at)], now_ms=now + at)
        for live in (one, two):
            exposed = np.expm1(
                ask(live, STRANGER, scene="city", time_ms=now).request.features["user_numbers"] / 0.25
            )
            assert np.isclose(exposed, 12, rtol=1e-4).any()
            live.record([], now_ms=now + 20)
            _, counters = live.cascades["home"].online.items.find_counters(np.array([100]))
            before = live.cascades["home"].bundle.snapshot.works
            assert counters[0, 0] == 12 + before["count_exposed"][before.lookup(np.array([100]))[0]]
    with open_hot_swap(path_of_any_store, None) as three:
        view, why = three.cascades["home"].online.view(STRANGER)
        assert why is None
        assert view.user.counters[0] == 12


def test_block_acts_in_another_service_without_its_own_events(path_of_any_store, now):
    with open_hot_swap(path_of_any_store, None) as one, open_hot_swap(path_of_any_store, None) as two:
        one.record([{"event": "block", "item_id": 100}], now_ms=now)
        deadline = time.monotonic() + 30
        # Not by a page: both services are in this process and share the index.
        while 100 not in two.cascades["home"].online.items.hidden_ids:
            assert time.monotonic() < deadline


def test_first_poll_after_the_store_is_back_reads_its_events(path, valkey, now):
    with open_hot_swap(path, None) as one, open_hot_swap(path, None) as two:
        ingestion = two._version().ingestion
        valkey.kill()
        for _ in range(60):  # each failure once made the next pause longer, up to 5 s
            ingestion.poll()
        assert ask(two, USER, time_ms=now).degraded == ("request.online_store",)
        valkey.start()
        assert one.record([{"event": "block", "item_id": 100}], now_ms=now).events == 1
        ingestion.poll()
        assert 100 in two.cascades["home"].online.items.hidden_ids


def test_stopped_store_degrades_pages_and_fails_calls_that_it_cannot_keep(path, valkey, now):
    with open_hot_swap(path, None) as live:
        first = ask(live, USER, time_ms=now)
        block = {"event": "block", "item_id": ids_of(first)[0], "event_id": str(uuid4()), "time_ms": now}
        live.record([{"event": "delete", "item_id": ids_of(first)[1]}], now_ms=now)
        valkey.kill()
        page = ask(live, USER, time_ms=now)
        assert page.degraded == ("request.online_store",) and len(page) == len(first) - 1
        for _ in range(60):  # after 50 of them, blocks stopped to act although the call succeeded
            with pytest.raises(Unavailable, match="online store"):
                live.record([block], now_ms=now)
        valkey.start()
        assert live.record([block], now_ms=now).events == 1
        page = ask(live, USER, time_ms=now)
        assert not page.degraded and len(page) == len(first) - 2


@pytest.mark.parametrize(("deadline_ms", "is_degraded"), [(20, True), (10_000, False)])
def test_page_is_degraded_only_if_the_store_exceeds_deadline_ms(path, valkey, now, deadline_ms, is_degraded):
    path.write_text(path.read_text().replace(PATIENT, f"deadline_ms = {deadline_ms}"))
    with open_hot_swap(path, None) as live, pytest.importorskip("valkey").from_url(valkey.url) as client:
        client.client_pause(900 if is_degraded else 100)
        page = ask(live, USER, time_ms=now)
        assert len(page) and page.degraded == (("request.online_store",) if is_degraded else ())
        failure = page.trace.steps[0].failure
        assert (
            failure is not None and "the online store did not answer within 20 ms" in failure
        ) == is_degraded


def test_reload_keeps_blocks_while_the_store_is_away(path, valkey, now):
    with open_hot_swap(path, None) as live:
        blocked = ids_of(ask(live, USER, time_ms=now))[0]
        live.record([{"event": "block", "item_id": blocked}], now_ms=now)
        valkey.kill()
        path.write_text(path.read_text() + "\n")
        assert live.reload()
        page = ask(live, USER, time_ms=now)
        assert page.degraded == ("request.online_store",) and len(page) and blocked not in ids_of(page)
        valkey.start()
        live.record([], now_ms=now)
        assert not ask(live, USER, time_ms=now).degraded


def test_service_does_not_open_without_its_store(path, valkey, now):
    """It would serve blocked items, since it does not know the lifecycle of items."""
    with open_hot_swap(path, None) as live:
        blocked = ids_of(ask(live, USER, time_ms=now))[0]
        live.record([{"event": "block", "item_id": blocked}], now_ms=now)
    valkey.kill()
    with pytest.raises(Unavailable, match=r"valkey://127\.0\.0\.1"):
        open_hot_swap(path, None)
    valkey.start()
    with open_hot_swap(path, None) as live:
        assert blocked not in ids_of(ask(live, USER, time_ms=now))


@contextmanager
def files_of_at_most(n_bytes):
    """Files cannot grow beyond ``n_bytes``, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_fails_the_call_and_requests_continue(live, now):
    live.record([exposure(OTHER, 100)], now_ms=now)
    shown = ids_of(ask(live, USER, 5, time_ms=now))
    rows = [exposure(USER, work, event_id=str(uuid4()), time_ms=now) for work in shown]
    with files_of_at_most(1):
        with pytest.raises(Unavailable, match=r"online\.db cannot be used"):
            live.record(rows, now_ms=now)
        assert {*shown} <= {*ids_of(ask(live, USER, time_ms=now))}
    assert live.record(rows, now_ms=now).events == 5
    page = ask(live, USER, time_ms=now)
    assert not {*shown} & {*ids_of(page)} and not page.degraded


def test_removed_folder_fails_the_call_and_degrades_pages(folder, now, tmp_path):
    path = tmp_path / "service" / "karec.toml"
    path.parent.mkdir()
    path.write_text((folder / "karec.toml").read_text().replace('"bundles"', f'"{folder / "bundles"}"'))
    with open_hot_swap(path, None) as live:
        live.record([exposure(OTHER, 100)], now_ms=now)
        shutil.rmtree(path.parent)
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"online\.db cannot be used"):
                live.record([exposure(USER, 100)], now_ms=now)
        page = ask(live, USER, time_ms=now)
        assert len(page) and page.degraded == ("request.online_store",)


def test_removed_write_ahead_log_fails_the_call(path, live, now):
    live.record([exposure(OTHER, 100)], now_ms=now)
    path.with_name("online.db-wal").unlink()
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"online\.db cannot be used"):
            live.record([exposure(USER, 100)], now_ms=now)


BAD = [
    ({"event": "likes", "user_id": 1}, "unknown event"),
    (
        {"event": "block", "user_id": 1, "creator_id": 3},
        "block has several of user_id, item_id and creator_id",
    ),
    ({"event": "impression", "usr": 1, "item_id": 100}, "unknown key 'usr'"),
    ({"event": "impression", "user_id": "anna", "item_id": 100}, "user_id is not an integer"),
    ({"event": "impression", "user_id": True, "item_id": 100}, "user_id is not an integer"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "scene": ["home"]}, "scene is not a string"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "request_id": {}}, "request_id is not a string"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "labels": {}}, "labels are not a list of names"),
    ({"event": "search", "user_id": 1, "text": [1]}, "text is not a string"),
    ({"event": "impression", "user_id": 2**70, "item_id": 100}, "user_id is beyond 64 bits"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "position": 2**40}, "position is beyond 32 bits"),
    ({"event": "impression", "user_id": 1}, "item_id is missing"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "labels": ["loved"]}, "unknown label 'loved'"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "scene": "hme"}, "unknown scene 'hme'"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "position": -1}, "position is below 0"),
    (
        {"event": "impression", "user_id": 1, "item_id": 100, "labels": "like"},
        "labels are not a list of names",
    ),
    ({"event": "impression", "user_id": 1, "item_id": 100, "time_ms": 5}, "too late"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "time_ms": 2**60}, "impossible time"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "time_ms": "noon"}, "time_ms is not an integer"),
    ({"event": "impression", "user_id": 1, "item_id": 100, "event_id": "7"}, "event_id is not a UUID"),
    ({"event": "upload", "item_id": 900, "creator_id": 3, "columns": [3]}, "columns are not a table"),
    ({"event": "upload", "item_id": 900, "columns": {}}, "creator_id is missing"),
    (
        {"event": "upload", "item_id": 900, "creator_id": 3, "columns": {"tag": np.eye(2)}},
        "columns have a value that is not a number, string, boolean or vector",
    ),
    (
        {"event": "upload", "item_id": 900, "creator_id": 3, "columns": {"tag": 10**5000}},
        "columns have a number of too many digits",
    ),
    ({"event": "play", "user_id": 1, "item_id": 100}, "impossible play_ms"),
    ("impression", "a row is not a table"),
]


def test_invalid_events_are_counted_by_reason_and_others_recorded(live, now):
    told = live.record([*(row for row, _ in BAD), exposure(USER, 100)], now_ms=now)
    assert told.events == 1
    assert told.refused == Counter(reason for _, reason in BAD)
    assert not ask(live, USER, time_ms=now).degraded


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("labels", [np.arange(2)], {"unknown label '[0 1]'": 1}),
        ("event", np.arange(2), {"unknown event": 1}),
        ("scene", np.arange(2), {"scene is not a string": 1}),
        ("labels", None, {}),
        ("request_id", None, {}),
        ("scene", None, {}),
    ],
)
def test_record_treats_a_value_of_none_as_absent(live, path, now, key, value, told):
    assert live.record([{**exposure(USER, 100), key: value}], now_ms=now).refused == told
    _, events = read_log(EventSource(f"sqlite:{path.parent / 'online.db'}"))
    assert events.request_id.tolist() == [""] * (not told)


@pytest.mark.parametrize("moment", [1.5, "noon", 0, -5, 2**60])
def test_record_refuses_an_invalid_now_ms(live, moment):
    with pytest.raises(ValueError, match=r"now_ms is .* expected Unix milliseconds"):
        live.record([exposure(USER, 100)], now_ms=moment)


def test_repeated_event_counts_once(live, now):
    row = exposure(STRANGER, 100, "like", event_id="6f1c7f52-8f4e-4a4b-9d0f-2f5f0a3e5b11", time_ms=now)
    live.record([row, row], now_ms=now)
    live.record([row], now_ms=now + 5)
    assert live.event_counts["repeated"] == 2
    assert live.cascades["home"].online.view(STRANGER)[0].user.counters[0] == 1


def test_record_accepts_events_in_columns(live, snapshot, now):
    works = snapshot.works.ids[:3]
    before = ask(live, USER, time_ms=now)
    shown = Events.from_columns(
        "impression", source=9, number=np.arange(3), time_ms=now, user_id=USER, item_id=works, scene=0
    )
    assert live.record(shown, now_ms=now).events == 3
    after = ask(live, USER, time_ms=now)
    assert not {*works.tolist()} & {*ids_of(after)}
    assert after.versions["live_batch"] == before.versions["live_batch"] + 1


def test_hot_swap_deleted_without_close_ends_its_thread(path, now):
    live = open_hot_swap(path, None)
    live.record([exposure(USER, 100)], now_ms=now)
    (thread,) = [entry for entry in threading.enumerate() if entry.name == "karec-follow"]
    del live
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_reloaded_bundle_continues_with_the_same_store(tmp_path, now):
    path = live_config(tmp_path)
    with open_hot_swap(path, None) as live:
        shown = ids_of(ask(live, USER, 5, time_ms=now))
        live.record([exposure(USER, work) for work in shown], now_ms=now)
        live.record([{"event": "upload", "item_id": 9001, "creator_id": 3}], now_ms=now)
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


def test_reload_refuses_another_store_or_deadline(path, live, now):
    text = path.read_text()
    path.write_text(text.replace("[online]", "[online]\nmargin = 0.5\nrefresh_share = 0"))
    assert live.reload() and live.record([exposure(USER, 100)], now_ms=now).events == 1
    for before, after, why in (
        ("online.db", "other.db", "online.url: changed from 'sqlite:online.db' to 'sqlite:other.db'"),
        ("[online]", "[online]\ndeadline_ms = 5", "online.deadline_ms: changed from 20.0 to 5.0"),
        ("[online]", "[online]\nretention_days = 5", "online.retention_days: changed from 2.0 to 5.0"),
        ('[online]\nurl = "sqlite:online.db"\n', "", "online: a running service keeps its online store"),
    ):
        assert before in text
        path.write_text(text.replace(before, after))
        with pytest.raises(ConfigError, match=why):
            live.reload()
    assert live.record([exposure(USER, 101)], now_ms=now).events == 1


def test_clock_that_jumps_loses_no_event_and_counts_none_twice(live, now):
    rows = [exposure(STRANGER, 100, event_id=str(uuid4()), time_ms=now + at) for at in range(3)]
    for row, clock in zip(rows, (now + 2, now + 20 * HOUR, now + 2 - HOUR // 20), strict=True):
        assert live.record([row], now_ms=clock).events == 1
    assert live.record(rows, now_ms=now + 5).events == 3
    assert live.cascades["home"].online.view(STRANGER)[0].user.counters[0] == 3


def test_service_with_other_labels_is_refused_with_both_lists(path, now):
    with open_hot_swap(path, None) as live:
        live.record([exposure(USER, 100)], now_ms=now)
    store = SqliteStore(path.parent / "online.db")
    contents = store.read_document("contents")
    assert store.write_document("contents", contents.replace(b'"like"', b'"love"'), contents)
    store.close()
    with pytest.raises(DataError, match=r'"love".* expected .*"like".* Name another store in \[online\] url'):
        open_hot_swap(path, None)


def test_event_older_than_retention_days_is_refused(path, now):
    path.write_text(path.read_text().replace("[online]", "[online]\nretention_days = 0.5"))
    with open_hot_swap(path, None) as live:
        rows = [exposure(USER, 100, time_ms=now - hours * HOUR) for hours in (11, 13)]
        assert live.record(rows, now_ms=now).refused == {"too late": 1}


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
def test_refused_reload_with_a_new_online_table_opens_no_store(path, now, before, after):
    text = path.read_text()
    without = text.replace('[online]\nurl = "sqlite:online.db"\n', "")
    path.write_text(without)
    with open_hot_swap(path, None) as live:
        assert len(ask(live, STRANGER, time_ms=now)) and before in text
        path.write_text(text.replace(before, after))
        for _ in range(2):
            with pytest.raises(KarecError):
                live.reload()
        with pytest.raises(ValueError, match="there is no online store"):
            live.record([], now_ms=now)
        path.write_text(without + "\n")
        assert live.reload(), "the table has never been in service"
        path.write_text(text)
        assert live.reload() and live.record([exposure(USER, 100)], now_ms=now).events == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('url = "redis://karec:secret@host"', "url begins with 'redis', expected sqlite:FILE"),
        (
            'url = "valkey://karec:secret@host"',
            "the url of the online store contains a password. Remove it, and set the environment variable",
        ),
        ('url = "valkey://host/?password=secret"', "the url of the online store has another form"),
        ('url = "valkey://host:99999"', "the url of the online store cannot be read"),
        ('url = "valkey://host/abc"', "the url of the online store cannot be read"),
        ('url = "sqlite:s"\nexported = "ftp://host/x"', "ftp://host/x is not a URL of an object store"),
        ('url = "sqlite:s"\nexported = "s3://key:secret@b/x"', "s3://b/x: the URL contains credentials"),
        ('url = "sqlite:s"\ndeadline_ms = 0', "deadline_ms = 0, expected more than 0, at most 10000"),
        ('url = "sqlite:s"\nurk = "e"', "unknown key 'urk' (did you mean 'url'?)"),
        ("url = 3", "url"),
        ('url = "sqlite:s"\nscreen = "nothing.toml"', "online.screen: "),
    ],
)
def test_config_mistakes_names_a_mistake_of_the_online_table(path, line, message):
    path.write_text(path.read_text().replace('url = "sqlite:online.db"', line))
    (mistake,) = config_mistakes(path)
    assert message in mistake and "secret" not in mistake


def test_config_mistakes_has_every_mistake_of_the_online_table(path):
    path.write_text(
        path.read_text().replace('url = "sqlite:online.db"', 'url = 3\nurk = "e"\ndeadline_ms = "soon"')
    )
    mistakes = config_mistakes(path)
    assert len(mistakes) == 3 and all(": online" in mistake for mistake in mistakes)


def test_record_raises_without_an_online_table(path):
    text = path.read_text()
    path.write_text(text[: text.index("[online]")] + text[text.index("[scenes.home]") :])
    with open_hot_swap(path, None) as live:
        assert live.event_counts == {} and ask(live, USER).trace.steps[0].step == "user_features"
        with pytest.raises(ValueError, match="there is no online store"):
            live.record([])
