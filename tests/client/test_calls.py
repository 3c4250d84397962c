"""What each call sends, and what comes back."""

import inspect
import subprocess
import sys
from uuid import UUID

import numpy as np
import pytest
from scripted_service import good

from karec.client import AsyncClient, Client, Feed, Item, Recorded, Request, User, Work
from karec.client.messages import Listed

FEED = {
    "request_id": "r-1",
    "user_id": "c-7",
    "scene": "home",
    "items": [
        {"position": 0, "item_id": "song-1", "score": 0.5, "sources": ["model"], "columns": {"type": "audio"}}
    ],
    "degraded": ["recall.social"],
    "is_cold_start": False,
    "versions": {"bundle": "v0000000002"},
    "shortfall": None,
    "run_ms": 4.5,
    "a key of a later service": 1,
}
RECORDED = {"events": 1, "refused": {"no work": 2}, "waiting": None}


def test_a_feed_comes_back_as_a_struct(service, call):
    service.answer(good(FEED))
    feed = call("recommend", "c-7", url=service.url, scene="home", k=1, shown=["song-2"])
    assert feed == Feed(
        user="c-7",
        scene="home",
        items=(Item(0, "song-1", 0.5, ("model",), {"type": "audio"}),),
        request_id="r-1",
        degraded=("recall.social",),
        versions={"bundle": "v0000000002"},
        ms=4.5,
    )
    (asked,) = service.asked
    assert (asked.method, asked.path, asked.headers["content-type"]) == (
        "POST",
        "/v1/recommend",
        "application/json",
    )
    assert asked.json == {"user_id": "c-7", "scene": "home", "k": 1, "shown": ["song-2"]}


def test_what_is_not_said_is_not_sent_so_that_the_service_chooses(service, call):
    service.answer(good(FEED))
    call("recommend", 7, url=service.url)
    assert service.asked[0].json == {"user_id": 7}


def test_several_requests_go_as_one(service, call):
    service.answer(good({"pages": [FEED, FEED]}))
    feeds = call("recommend_many", [7, Request(user=8, scene="city", k=3)], url=service.url)
    assert [feed.user for feed in feeds] == ["c-7", "c-7"]
    assert service.asked[0].json == {"requests": [{"user_id": 7}, {"user_id": 8, "scene": "city", "k": 3}]}


ONE_WORK = [
    (
        "upload",
        (9, 3, {"song_id": 5}),
        {},
        {"kind": "upload", "work": 9, "creator": 3, "columns": {"song_id": 5}},
    ),
    ("upload", (9, 3), {}, {"kind": "upload", "work": 9, "creator": 3}),
    ("edit", (9, {"song_id": 6}), {}, {"kind": "edit", "work": 9, "columns": {"song_id": 6}}),
    ("delete", ("w-9",), {}, {"kind": "delete", "work": "w-9"}),
    ("block", (9,), {}, {"kind": "block", "work": 9}),
    ("unblock", (), {"creator": 3}, {"kind": "unblock", "creator": 3}),
    ("adjust", (9,), {"scale": 1.2}, {"kind": "adjust", "work": 9, "scale": 1.2}),
]


@pytest.mark.parametrize(("method", "arguments", "named", "row"), ONE_WORK)
def test_what_happens_to_a_work_is_a_row_of_its_kind(service, call, method, arguments, named, row):
    service.answer(good(RECORDED))
    assert call(method, *arguments, url=service.url, **named) == Recorded(1, {"no work": 2})
    (asked,) = service.asked
    (sent,) = asked.json["items"]
    assert (
        asked.path == "/v1/items" and {key: sent[key] for key in sent if key not in ("id", "time_ms")} == row
    )


@pytest.mark.parametrize("who", [{}, {"work": 1, "creator": 2}])
def test_block_wants_a_work_or_a_creator(service, call, who):
    with pytest.raises(ValueError, match="a work or a creator, one of them"):
        call("block", url=service.url, **who)


def test_each_event_gets_an_id_and_a_moment_and_ids_rise_in_the_order_of_telling(service, call):
    service.answer(good(RECORDED))
    given = {
        "kind": "follow",
        "user_id": 1,
        "creator": 2,
        "id": "9f1c8a8e-0000-4000-8000-000000000001",
        "time_ms": 5,
    }
    rows = [{"kind": "exposure", "user_id": 1, "work": work, "labels": None} for work in range(50)]
    call("record", (row for row in [*rows, given]), url=service.url)
    (asked,) = service.asked
    *sent, last = asked.json["events"]
    assert asked.path == "/v1/events" and last == given
    numbers = [UUID(row["id"]).int for row in sent]
    assert numbers == sorted(set(numbers))
    assert all(row["time_ms"] > 1_700_000_000_000 and "labels" not in row for row in sent)


def test_numbers_of_numpy_are_sent_as_numbers(service, call):
    service.answer(good(RECORDED))
    call(
        "record",
        [{"kind": "label", "user": np.int64(7), "work": np.int32(9), "labels": ["like"]}],
        url=service.url,
    )
    row = service.asked[0].json["events"][0]
    assert (row["user"], row["work"]) == (7, 9)


def test_what_is_no_json_is_a_mistake_of_the_caller(service, call):
    with pytest.raises(TypeError, match="object is no value of JSON"):
        call("record", [{"kind": "label", "user_id": object()}], url=service.url)
    assert service.asked == []


LOOKS = [
    ("status", (), {}, "/v1/status"),
    ("version", (), {}, "/version"),
]


@pytest.mark.parametrize(("method", "arguments", "named", "path"), LOOKS)
def test_what_the_service_says_of_itself_comes_back_as_a_table(service, call, method, arguments, named, path):
    service.answer(good({"is_known": True}))
    assert call(method, *arguments, url=service.url, **named) == {"is_known": True}
    assert (service.asked[0].method, service.asked[0].path, service.asked[0].body) == ("GET", path, b"")


def test_a_user_and_a_work_come_back_as_structs(service, call):
    known = {
        "user_id": "a/b ü",
        "is_known": True,
        "lists": {"history": {"n": 60, "newest": ["w-2", "w-1"]}},
        "later": 1,
    }
    item = {"item_id": 9, "is_indexed": True, "model_version": 3, "is_blocked": True}
    service.answer(good(known), good(item))
    user = call("user", "a/b ü", url=service.url, scene="ci ty")
    assert user == User("a/b ü", known=True, lists={"history": Listed(60, ("w-2", "w-1"))})
    assert call("work", 9, url=service.url) == Work(9, in_index=True, model_version=3, blocked=True)
    assert [asked.path for asked in service.asked] == [
        "/v1/users/a%2Fb%20%C3%BC?scene=ci%20ty",
        "/v1/items/9",
    ]


def test_ready_is_a_truth_value(service, call):
    service.answer((503, {"retry-after": "1"}, {"title": "Starting"}))
    assert call("ready", url=service.url) is False
    service.answer(good({}))
    assert call("ready", url=service.url) is True
    assert [asked.path for asked in service.asked] == ["/readyz"] * 2


def test_a_service_may_stand_below_a_path(service, call):
    service.answer(good(FEED))
    call("recommend", 7, url=f"{service.url}/karec/")
    assert service.asked[0].path == "/karec/v1/recommend"


def test_connections_are_kept_and_used_again(service):
    service.answer(good(FEED))
    with Client(service.url) as client:
        for user in range(5):
            client.recommend(user)
    assert (len(service.asked), service.connections) == (5, 1)


def test_both_clients_have_the_same_calls():
    def calls_of(kind):
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: str(inspect.signature(call)) for name, call in found if not name.startswith("_")}

    assert calls_of(Client) == calls_of(AsyncClient)


def test_importing_the_client_loads_nothing_of_the_engine():
    code = "import karec.client, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "karec.client.client" in loaded
    assert not loaded & {"numpy", "numba", "onnxruntime", "pyarrow", "karec.pipeline.types", "karec.config"}


def test_without_its_packages_the_client_says_which_extra_brings_them():
    code = "import sys; sys.modules['httpx'] = None\nimport karec.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "karec.client needs the package 'httpx': pip install 'karec[client]'"
    )


def test_a_deadline_that_json_has_no_number_for_and_a_row_that_is_none_are_refused_before_they_are_sent(
    service, call
):
    for given in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="deadline_ms is"):
            call("recommend", 1, url=service.url, deadline_ms=given)
        with pytest.raises(ValueError, match="deadline_ms is"):
            call("recommend_many", [Request(user=1, deadline_ms=given)], url=service.url)
    with pytest.raises(ValueError, match="row 1 is 7, expected a mapping"):
        call("record", [{"kind": "follow"}, 7], url=service.url)
    assert service.asked == []
