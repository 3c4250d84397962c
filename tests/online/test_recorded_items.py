"""Recorded uploads, edits, deletions and blocks change the next request of a live cascade."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from live_bundle import ask, live_config, named

from karec.bundle import Bundle
from karec.catalog.table import Table
from karec.config import open_hot_swap
from karec.online.read_log import EventSource, read_log

HOUR = 3_600_000
USER, NEW, CREATOR = 1, 9001, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    live_config(folder)
    return folder


@pytest.fixture
def open_live(made, tmp_path):
    """Opens a cascade on its own copy of the bundle, with this test's log and store."""
    shutil.copytree(made / "bundles", tmp_path / "bundles", symlinks=True)
    path = tmp_path / "karec.toml"

    def opened(more="", channels=""):
        text = (made / "karec.toml").read_text()
        text = text.replace("recall = [", f"recall = [{channels}")
        path.write_text(text.replace("[online]", f"[online]\n{more}"))
        return open_hot_swap(path, None)

    return opened


@pytest.fixture(scope="module")
def snapshot(made):
    return Bundle.open(made / "bundles").snapshot


@pytest.fixture
def now(snapshot):
    return snapshot.time_ms + HOUR


def upload(work=NEW, creator=CREATOR, **columns):
    return {"event": "upload", "item_id": work, "creator_id": creator, "columns": columns}


def found_by(feed, work=NEW):
    return {name for item in feed if item.item_id == work for name in item.sources}


def test_new_item_is_recalled_by_model_fresh_and_follow(open_live, now):
    with open_live() as live:
        live.record([{"event": "follow", "user_id": USER, "creator_id": CREATOR}], now_ms=now)
        assert NEW not in [item.item_id for item in ask(live, USER, time_ms=now)]
        assert live.record([upload(song_id=3, type="video")], now_ms=now).events == 1
        feed = ask(live, USER, time_ms=now)
        assert found_by(feed) == {"follow", "model", "fresh"} and not feed.degraded
        assert next(item.sources[0] for item in feed if item.item_id == NEW) == "follow"
    with open_live() as again:  # from the store
        assert found_by(ask(again, USER, time_ms=now)) == {"follow", "model", "fresh"}


def test_follow_source_finds_new_items_for_all_current_followers(open_live, snapshot, now):
    """Three users follow the creator: in the bundle, before and after the upload. A fourth has unfollowed."""
    follows = snapshot.relations["follows"]
    old = next(row for row in range(len(follows)) if len(follows.row_values(row)))
    creator, users = (
        int(follows.row_values(old)[0]),
        [int(snapshot.users.ids[old]), 880_001, 880_002, 880_003],
    )
    follow = [{"event": "follow", "user_id": user, "creator_id": creator} for user in users[1:]]
    with open_live() as live:
        live.record([follow[0], follow[2]], now_ms=now)
        live.record([upload(creator=creator)], now_ms=now + 1)
        live.record([follow[1], follow[2] | {"event": "unfollow"}], now_ms=now + 2)

        def by_following():
            return ["follow" in found_by(ask(live, user, time_ms=now + 3)) for user in users]

        assert by_following() == [True, True, True, False]
        root = live.cascades["home"].bundle.path.parent
        shutil.copytree(root, root.parent / "again", symlinks=True)
        config = root.parent / "karec.toml"
        config.write_text(config.read_text().replace('"bundles"', '"again"'))
        assert live.reload()
        assert by_following() == [True, True, True, False]


def test_profile_source_finds_a_new_item_by_the_users_song(open_live, snapshot, now):
    watched = int(snapshot.works.ids[np.flatnonzero(snapshot.works["song_id"] >= 0)[0]])
    song = int(snapshot.works["song_id"][snapshot.works.lookup([watched])[0]])
    with open_live(channels='{ use = "profile", quota = 40 },') as live:
        live.record(
            [{"event": "impression", "user_id": 987_654, "item_id": watched, "labels": ["click", "like"]}],
            now_ms=now,
        )
        live.record([upload(song_id=song), upload(9002, 8001, song_id=song + 1000)], now_ms=now)
        feed = ask(live, 987_654, time_ms=now)
        assert "profile" in found_by(feed) and "profile" not in found_by(feed, 9002)
        live.record([{"event": "delete", "item_id": NEW}], now_ms=now)
        assert not found_by(ask(live, 987_654, time_ms=now))


def test_new_item_has_the_vector_and_logits_of_a_new_bundle(open_live, made, snapshot, now):
    given_values = {"song_id": 3, "type": 1, "tag": 2, "city": 1, "log_duration": 4.5}
    column = {
        name: np.append(values, np.array([0], values.dtype))
        for name, values in snapshot.works.columns.items()
    }
    for name, value in {**given_values, "creator_id": CREATOR, "upload_ms": now}.items():
        column[name][-1] = value
    with_it = replace(snapshot, works=Table(np.append(snapshot.works.ids, NEW), column))
    bundle = Bundle.open(made / "bundles")
    row = np.array([len(snapshot.works)])
    (vector,) = bundle.item_tower.run(bundle.encoder.encode_items(with_it, row, now), "item_vector")
    with open_live() as live:
        live.record([upload(**given_values)], now_ms=now)
        served = live.cascades["home"].bundle
        np.testing.assert_allclose(served.index.embeddings(served.index.lookup([NEW])), vector, atol=1e-3)
        assert served.index.gather("creator_id", served.index.lookup([NEW])).tolist() == [CREATOR]
        live.record(
            [{"event": "impression", "user_id": USER, "item_id": NEW, "labels": ["click"]}], now_ms=now
        )
        feed = ask(live, USER, scene="city", time_ms=now + 1)
        features, pool = feed.request.features, feed.scored["rank"]
        counts = np.zeros((1, len(bundle.encoder.works.counters)), np.float32)
        counts[0, [bundle.encoder.works.counters.index(f"count_{name}") for name in ("exposed", "click")]] = 1
        items = bundle.encoder.encode_items(with_it, row, now + 1, counts)
        (logits,) = bundle.ranker.run(
            {**features, **items, **bundle.encoder.encode_crosses(features, items)}, "logits"
        )
        np.testing.assert_array_equal(pool.columns["logits"][pool.ids == NEW], logits)
        history = bundle.encoder.tables(with_it).works.ids[row[0]]
        np.testing.assert_array_equal(features["history"][0, 0], history)


def test_deleted_or_blocked_items_are_absent_from_the_next_page(open_live, snapshot, now):
    creator_of = dict(zip(snapshot.works.ids.tolist(), snapshot.works["creator_id"].tolist(), strict=True))
    with open_live() as live:
        live.record([upload(), upload(NEW + 1)], now_ms=now)
        before = [item.item_id for item in ask(live, USER, time_ms=now)]
        old = next(work for work in before if work < NEW)
        live.record(
            [{"event": "delete", "item_id": old}, {"event": "delete", "item_id": NEW}], now_ms=now + 1
        )
        after = [item.item_id for item in ask(live, USER, time_ms=now)]
        assert {*before} - {*after} == {old, NEW}
        live.record([{"event": "block", "creator_id": CREATOR}], now_ms=now + 2)
        left = [item.item_id for item in ask(live, USER, time_ms=now)]
        assert {*after} - {*left} == {w for w in after if creator_of.get(w, CREATOR) == CREATOR}
        # uploaded after the block
        live.record([upload(NEW + 2), {"event": "block", "item_id": left[0]}], now_ms=now + 3)
        assert {*left} - {item.item_id for item in ask(live, USER, time_ms=now)} == {left[0]}
        index = live.cascades["home"].bundle.index
        hidden = [old, NEW + 1, NEW + 2, left[0]]
        assert not np.isin(hidden, index.search(np.ones((1, index.dim), np.float32), 99).ids).any()
        live.record(
            [{"event": "unblock", "creator_id": CREATOR}, {"event": "unblock", "item_id": left[0]}],
            now_ms=now + 4,
        )
        back = [item.item_id for item in ask(live, USER, time_ms=now)]
        assert {*back} == {*after} | {NEW + 2}
        live.record([upload()], now_ms=now + 5)
        assert NEW in [item.item_id for item in ask(live, USER, time_ms=now)]


def test_edit_changes_columns_and_vector_of_the_next_request(open_live, snapshot, now):
    work = int(snapshot.works.ids[0])
    with open_live() as live:
        index = live.cascades["home"].bundle.index
        was = index.embeddings(index.lookup([work]))
        live.record(
            [{"event": "edit", "item_id": work, "columns": {"song_id": 77}}, upload(song_id=1)], now_ms=now
        )
        live.record([{"event": "edit", "item_id": NEW, "columns": {"song_id": 78}}], now_ms=now + 1)
        assert index.gather("song_id", index.lookup([work, NEW])).tolist() == [77, 78]
        assert not np.array_equal(index.embeddings(index.lookup([work])), was)
        assert index.gather("creator_id", index.lookup([work])).tolist() == [
            int(snapshot.works["creator_id"][0])
        ]


def test_upload_values_of_wrong_type_are_missing(open_live, now):
    odd = {
        "song_id": 2**70,
        "type": "hologram",
        "tag": 1.5,
        "city": float("nan"),
        "log_duration": "long",
        "other": 3,
    }
    with open_live() as live:
        rows = [
            upload(**odd),
            upload(NEW + 1, log_duration=10**400, song_id=10**400),
            {"event": "edit", "item_id": 12345, "columns": {"tag": 1}},
            {"event": "impression", "user_id": USER, "item_id": 100},
        ]
        assert live.record(rows, now_ms=now).events == 4
        index = live.cascades["home"].bundle.index
        row = index.lookup([NEW])
        for name in ("song_id", "type", "tag", "city"):
            assert index.gather(name, row).tolist() == [-1], name
        assert (live.event_counts["edit of an unknown item"], live.event_counts["counted"]) == (1, 1)
        assert {NEW, NEW + 1} <= {item.item_id for item in ask(live, USER, time_ms=now)}


def test_item_vectors_are_equal_after_a_restart(open_live, snapshot, now):
    work = int(snapshot.works.ids[0])

    def vectors(live):
        index = live.cascades["home"].bundle.index
        return index.embeddings(index.lookup([NEW, work]))

    with open_live() as live:
        live.record([upload(song_id=1)], now_ms=now)
        live.record(
            [{"event": "edit", "item_id": work, "columns": {"song_id": 7}, "time_ms": now + 40 * HOUR}],
            now + 40 * HOUR,
        )
        before = vectors(live)
    with open_live() as again:
        np.testing.assert_array_equal(vectors(again), before)


def test_creator_block_holds_if_an_edit_wrote_the_id_as_a_float(open_live, snapshot, now):
    with open_live() as live:
        edit = {"event": "edit", "item_id": NEW, "columns": {"creator_id": float(CREATOR)}}
        live.record([upload(creator=CREATOR + 1), {**edit, "time_ms": now + 1}], now_ms=now + 1)
        live.record([{"event": "block", "creator_id": CREATOR}], now_ms=now + 2)
        assert NEW not in [item.item_id for item in ask(live, USER, time_ms=now)]
        live.record([{"event": "unblock", "creator_id": CREATOR}], now_ms=now + 3)
        assert NEW in [item.item_id for item in ask(live, USER, time_ms=now)]


@pytest.fixture
def open_screened(open_live, tmp_path):
    """Opens a cascade whose rules refuse short items, the item NEW + 9 and the creator 8."""
    (tmp_path / "items.txt").write_text(f"{NEW + 9}\n")
    (tmp_path / "creators.txt").write_text("8\n")
    (tmp_path / "screen.toml").write_text(
        """
keep = 10
uploads = "uploads"
rules = [
  { reason = "too short", column = "duration_s", min = 30 },
  { reason = "blocked work", column = "work_id", not_in = "items.txt" },
  { reason = "blocked creator", column = "creator_id", not_in = "creators.txt" },
]
quality = { column = "duration_s" }
"""
    )
    return lambda: open_live('screen = "screen.toml"')


def test_edit_hides_an_item_while_a_hard_rule_is_violated(open_screened, now):
    with open_screened() as live:
        index = live.cascades["home"].bundle.index

        def is_served(work):
            output = index.search(np.ones((1, index.dim), np.float32), 99).ids
            assert (work in output) == (work in [item.item_id for item in ask(live, USER, time_ms=now)])
            return work in output

        live.record([upload(duration_s=90), upload(NEW + 9, duration_s=90)], now_ms=now)
        assert is_served(NEW) and not is_served(NEW + 9)
        for at, seconds in enumerate((5, 60)):
            edit = {"event": "edit", "item_id": NEW, "columns": {"duration_s": seconds}}
            live.record([edit], now_ms=now + 1 + at)
            assert is_served(NEW) == (seconds == 60)
        assert live.event_counts["screened: too short"] == 1


def test_upload_that_violates_a_hard_rule_is_not_served(open_screened, now):
    with open_screened() as live:
        rows = [
            upload(NEW, duration_s=29),
            upload(NEW + 1, 8, duration_s=90),
            upload(NEW + 2),
            upload(NEW + 3, duration_s=30),
        ]
        assert live.record(rows, now_ms=now).events == 4
        feed = [item.item_id for item in ask(live, USER, time_ms=now)]
        assert [work for work in range(NEW, NEW + 4) if work in feed] == [NEW + 3]
        screened = {why: n for why, n in live.event_counts.items() if why.startswith("screened")}
        assert screened == {
            "screened: too short": 1,
            "screened: blocked creator": 1,
            "screened: too short: duration_s is missing": 1,
        }


def test_string_ids_are_recorded_and_served(tmp_path, now):
    path = live_config(tmp_path, ids=named(tmp_path))
    with open_hot_swap(path, None) as live:
        before = ask(live, "u1", time_ms=now)
        assert all(item.item_id.startswith("w") for item in before)
        rows = [
            {"event": "impression", "user_id": "u1", "item_id": before.items[0].item_id, "labels": ["like"]},
            {"event": "follow", "user_id": "a new user", "creator_id": "a new creator"},
            upload("a new work", "a new creator", song_id=3),
            {"event": "impression", "user_id": 7, "item_id": "w100"},
            {"event": "impression", "user_id": "", "item_id": "w100"},
            upload(8),
        ]
        outcome = live.record(rows, now_ms=now)
        assert outcome.events == 3
        assert outcome.refused == {
            "user_id is not an id of this platform": 2,
            "item_id is not an id of this platform": 1,
        }
        feed = ask(live, "u1", time_ms=now)
        assert "a new work" in [item.item_id for item in feed] and before.items[0].item_id not in [
            item.item_id for item in feed
        ]
        assert "follow" in found_by(ask(live, "a new user", time_ms=now), "a new work")
        live.record([{"event": "impression", "user_id": "a new user", "item_id": "a new work"}], now_ms=now)
        assert not found_by(ask(live, "a new user", time_ms=now), "a new work")
    with open_hot_swap(path, None) as again:
        assert "a new work" in [item.item_id for item in ask(again, "u1", time_ms=now)]
        again.record([{"event": "delete", "item_id": "a new work"}], now_ms=now + 1)
        assert "a new work" not in [item.item_id for item in ask(again, "u1", time_ms=now)]


def test_impressions_of_new_users_keep_their_string_id_for_training(tmp_path, now):
    path = live_config(tmp_path, ids=named(tmp_path))
    with open_hot_swap(path, None) as live:
        live.record(
            [{"event": "impression", "user_id": user, "item_id": "w100"} for user in ("u1", "a new user")],
            now_ms=now,
        )
    _, events = read_log(EventSource(f"sqlite:{tmp_path / 'online.db'}"))
    assert sorted(events.text) == ["", "a new user"]


def test_block_list_of_the_rules_accepts_string_creator_ids(tmp_path, now):
    (tmp_path / "blocked.txt").write_text("bad\n")
    (tmp_path / "screen.toml").write_text(
        'keep = 10\nuploads = "u"\nquality = { column = "v" }\n'
        'rules = [{ reason = "blocked", column = "creator_id", not_in = "blocked.txt" }]\n'
    )
    path = live_config(tmp_path, more='screen = "screen.toml"', ids=named(tmp_path))
    with open_hot_swap(path, None) as live:
        live.record([upload("one", "bad", v=0.5), upload("two", "good", v=0.5)], now_ms=now)
        feed = [item.item_id for item in ask(live, "u1", time_ms=now)]
        assert "two" in feed and "one" not in feed


def test_concurrent_requests_read_all_events_recorded_before(open_live, tmp_path, snapshot, now):
    """Bundles are swapped meanwhile. No page has an error, a deleted item or an item shown to the user."""
    ended, deleted, shown = threading.Event(), list[int](), list[int]()

    def ask_on(live, user):
        n = 0
        while not ended.is_set():
            gone, seen = {*deleted}, {*shown} if user == USER else set()
            feed = ask(live, user, time_ms=now)
            assert not feed.degraded and len(feed)
            assert not (gone | seen) & {item.item_id for item in feed}
            n += 1
        return n

    with open_live() as live, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_on, live, user) for user in (USER, USER, 2, 987_654)]
        for at in range(30):
            live.record([upload(NEW + at, song_id=at % 5)], now_ms=now)
            if at % 3 == 0:
                live.record([{"event": "delete", "item_id": NEW + at}], now_ms=now)
                deleted.append(NEW + at)
            if at % 3 == 1:
                live.record([{"event": "impression", "user_id": USER, "item_id": NEW + at}], now_ms=now)
                shown.append(NEW + at)
            if at % 10 == 9:
                path = tmp_path / "karec.toml"
                path.write_text(path.read_text() + f"# {at}\n")
                assert live.reload()
            assert not any(entry.done() for entry in asking)
        ended.set()
        assert all(entry.result() for entry in asking)
        assert live.reloads.done == 3
        kept = [NEW + at for at in range(30) if at % 3]
        assert {*kept} <= {item.item_id for item in ask(live, 2, k=90, time_ms=now)}
