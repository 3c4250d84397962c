"""karec.client against a service that runs."""

import asyncio
import os
import signal
from time import time_ns
from uuid import uuid4

import pytest
from running_service import RunningService

from karec.client import AsyncClient, Client, Problem, Request

USER, NEW = 1, 9101


@pytest.fixture(scope="module")
def client(service):
    with Client(service.url, timeout=60) as client:
        yield client


def test_a_feed_is_what_the_service_answers(client, service):
    feed = client.recommend(USER, k=5, scene="home", request_id="r-7", explain=True, shown=[3])
    told = service.ask(USER, k=5, scene="home", request_id="r-7", shown=[3])
    assert [item.id for item in feed.items] == [item["item_id"] for item in told["items"]]
    assert (feed.request_id, feed.user, feed.scene, feed.ms > 0) == ("r-7", USER, "home", True)
    assert feed.trace and all(item.why and item.recalled_by for item in feed.items)


def test_several_users_are_answered_in_their_order(client):
    feeds = client.recommend_many([2, Request(user=USER, k=3)])
    assert [(feed.user, len(feed.items)) for feed in feeds] == [(2, 10), (USER, 3)]


def test_the_problem_names_the_field(client):
    with pytest.raises(Problem) as caught:
        client.recommend_many([Request(user=1), Request(user=2, k=0)])
    assert (caught.value.status, caught.value.field) == (422, "requests[1].k")
    with pytest.raises(Problem, match="404"):
        client.work(10**15)


def test_works_and_events_are_known_afterwards(client, service, snapshot):
    assert client.upload(NEW, 4, {"song_id": 3, "upload_ms": snapshot.time_ms}).events == 1
    service.until(lambda: client.work(NEW).in_index)
    assert client.record([{"kind": "exposure", "user": 2, "work": NEW, "labels": ["click"]}]).events == 1
    service.until(lambda: NEW in client.user(2).lists["history"].newest)
    assert client.block(NEW).events == 1
    service.until(lambda: client.work(NEW).blocked)
    assert client.record([{"kind": "nothing"}]).refused == {"unknown kind": 1}


def test_an_event_that_is_told_again_counts_once(client, service):
    """As after a connection that broke when the service had taken the event: the same bytes come again."""
    row = {"kind": "exposure", "user": 3, "work": 7, "id": str(uuid4()), "time_ms": time_ns() // 1_000_000}
    before = client.user(3).columns
    for _ in range(3):
        assert client.record([row]).events == 1
    service.until(lambda: client.user(3).columns != before)
    after = client.user(3).columns
    # that of exposures
    assert [after[key] - before[key] for key in after if after[key] != before[key]] == [1]


def test_status_version_and_readiness(client):
    assert client.ready() and "home" in client.status()["scenes"]
    assert client.version()["scenes"]["home"]["bundle"] == "v0000000001"


def test_the_asynchronous_client_asks_many_at_once(service):
    async def asking():
        async with AsyncClient(service.url, timeout=60, connections=4) as client:
            return await asyncio.gather(*(client.recommend(user, k=3) for user in range(1, 13)))

    assert [feed.user for feed in asyncio.run(asking())] == [*range(1, 13)]


def test_a_worker_that_is_killed_is_seen_by_no_caller(config):
    """Its connection breaks; the call is made again, on the other worker or the new one."""
    with (
        RunningService(config, "--workers", "2") as running,
        Client(running.url, timeout=60, retries=20) as client,
    ):
        for user in range(1, 3):
            running.until(lambda: len(running.ready_pids()) == 2)
            os.kill(client.status()["pid"], signal.SIGKILL)
            assert len(client.recommend(user, k=3).items) == 3


def test_a_token_opens_what_is_closed(config, tmp_path):
    text = config.read_text(encoding="utf-8")
    secured = config.with_name("secured.toml")
    secured.write_text(text.replace("[serve]", '[serve]\ntoken = "env:TOKEN_OF_THE_TEST"'), encoding="utf-8")
    with RunningService(secured, TOKEN_OF_THE_TEST="0123456789abcdef") as running:
        with Client(running.url, token="0123456789abcdef") as client:
            assert client.recommend(USER, k=3).user == USER
        with Client(running.url) as client, pytest.raises(Problem, match="401"):
            client.recommend(USER)
