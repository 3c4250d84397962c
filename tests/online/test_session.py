"""Events of a session in a request: the page is that of a store with these events, and nothing is stored."""

import numpy as np
import pytest
from live_bundle import ask
from valkey_server import PROGRAMS, REASON, ValkeyServer

from karec.config import load_cascade, open_hot_swap
from karec.features.encoder import USER_SIDE
from karec.pipeline.types import Request

HOUR = 3_600_000
USER, STRANGER = 1, 987_654


def config_in(tmp_path, folder, name, url="sqlite:online.db"):
    """Writes a karec.toml on the bundle of ``folder`` with a store of its own."""
    path = tmp_path / name / "karec.toml"
    path.parent.mkdir()
    text = (folder / "karec.toml").read_text().replace('"bundles"', f'"{folder / "bundles"}"')
    path.write_text(text.replace('"sqlite:online.db"', url if "\n" in url else f'"{url}"'))
    return path


@pytest.fixture(params=["sqlite", "valkey"])
def live(request, folder, tmp_path):
    if request.param == "sqlite":
        with open_hot_swap(config_in(tmp_path, folder, "sqlite"), None) as live:
            yield live
        return
    pytest.importorskip("valkey")
    if not PROGRAMS:
        pytest.skip(REASON)
    server = ValkeyServer(tmp_path)
    path = config_in(tmp_path, folder, "valkey", f'"{server.url}"\ndeadline_ms = 10000')
    with open_hot_swap(path, None) as live:
        yield live
    server.kill()


@pytest.fixture
def other(folder, tmp_path):
    """Another service, whose store has the events."""
    with open_hot_swap(config_in(tmp_path, folder, "other"), None) as live:
        yield live


def session_of(snapshot, now):
    """Rows of a user who likes some items, skips others, and follows a creator."""
    works, rng = snapshot.works, np.random.default_rng(4)
    rows = [
        {
            "event": "impression",
            "item_id": int(item),
            "labels": labels,
            "scene": "home",
            "time_ms": now - 90 + at,
        }
        for at, (item, labels) in enumerate(
            zip(
                rng.choice(works.ids, 5, replace=False),
                [["click", "like"], [], ["click"], [], ["like"]],
                strict=True,
            )
        )
    ]
    return [*rows, {"event": "follow", "creator_id": int(works["creator_id"][0]), "time_ms": now - 50}]


@pytest.mark.parametrize("user", [USER, STRANGER])
@pytest.mark.parametrize("has_stored_events", [False, True])
def test_page_equals_that_of_a_store_with_the_events(live, other, snapshot, now, user, has_stored_events):
    rows = session_of(snapshot, now)
    stored = rows[:3] if has_stored_events else []
    named = [{**row, "user_id": user} for row in rows]
    live.record(named[: len(stored)], now_ms=now)
    other.record(named, now_ms=now)
    before = ask(live, user, time_ms=now)
    page = live.run(
        Request(user, scene="home", time_ms=now, request_id="r", events=tuple(rows[len(stored) :]))
    )
    expected = other.run(Request(user, scene="home", time_ms=now, request_id="r"))
    for name in (*USER_SIDE, "user_vector"):
        np.testing.assert_array_equal(page.request.features[name], expected.request.features[name], name)
    assert [(item.item_id, item.score) for item in page] == [(item.item_id, item.score) for item in expected]
    after = ask(live, user, time_ms=now)
    assert [item.item_id for item in after] == [item.item_id for item in before], "nothing is stored"


def test_events_before_the_bundle_count(live, snapshot, now):
    rows = [{**row, "time_ms": row["time_ms"] - 2 * HOUR} for row in session_of(snapshot, now)]
    page = live.run(Request(STRANGER, scene="home", time_ms=now, events=tuple(rows)))
    without = live.run(Request(STRANGER, scene="home", time_ms=now))
    assert not np.array_equal(page.request.features["user_vector"], without.request.features["user_vector"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"event": "upload", "item_id": 999_999}, r"events\[0\]: event is 'upload', expected one of"),
        ({"event": "impression", "item_id": 999_999, "user_id": 3}, "has a user_id"),
        ({"event": "impression", "item_id": "a"}, "item_id is not an integer"),
        ({"event": "impression", "item_id": 999_999, "labels": ["smile"]}, "unknown label 'smile'"),
        ({"event": "impression"}, "item_id is missing"),
        ({"event": "impression", "item_id": 999_999, "time_ms": 2 * 10**12}, "from the future"),
        ({"event": "impression", "item_id": 999_999, "colour": 1}, "unknown key 'colour'"),
    ],
)
def test_row_that_is_not_an_event_of_a_user_is_refused(other, now, row, message):
    with pytest.raises(ValueError, match=message):
        other.run(Request(USER, scene="home", time_ms=now, events=(row,)))


def test_events_need_an_online_store(folder, now):
    with load_cascade(folder / "karec.toml", "home") as cascade, pytest.raises(ValueError, match="memory"):
        cascade.run(
            Request(USER, scene="home", time_ms=now, events=({"event": "impression", "item_id": 999_999},))
        )
