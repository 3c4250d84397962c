"""karec.client against a service that runs."""

import asyncio
import os
import signal
from time import time_ns
from uuid import uuid4

import pytest
from running_service import RunningService

from karec.client import AsyncClient, Client, Item, Page, Problem, Recorded, Request
from karec.serve import messages

USER, NEW_ITEM = 1, 9101


@pytest.fixture(scope="module")
def client(service):
    with Client(service.url, timeout_s=60) as client:
        yield client


@pytest.mark.parametrize(
    ("own", "sent"), [(Page, messages.PageResponse), (Item, messages.Item), (Recorded, messages.Recorded)]
)
def test_client_reads_every_field_of_the_service(own, sent):
    assert {*own.__struct_encode_fields__} == {*sent.__struct_encode_fields__}


def test_client_sends_every_field_of_a_request():
    assert {*Request.__annotations__} == {*messages.PageRequest.__struct_encode_fields__}


def test_client_returns_the_page_of_the_service(client, service):
    request = {"k": 5, "scene": "home", "request_id": "r-7", "shown": [3]}
    page = client.recommend(user_id=USER, explain=True, **request)
    expected = service.ask(USER, **request)
    assert [item.item_id for item in page.items] == [item["item_id"] for item in expected["items"]]
    assert (page.request_id, page.user_id, page.scene, page.run_ms > 0) == ("r-7", USER, "home", True)
    assert page.trace and all(item.reason and item.sources for item in page.items)


def test_problem_names_the_field(client):
    with pytest.raises(Problem) as caught:
        client.recommend(user_id=2, k=0)
    assert (caught.value.status, caught.value.field) == (422, "k")
    with pytest.raises(Problem, match="404"):
        client.get(f"/v1/items/{10**15}")


def test_items_and_events_are_known_afterwards(client, service, snapshot):
    columns = {"song_id": 3, "upload_ms": snapshot.time_ms}
    upload = {"event": "upload", "item_id": NEW_ITEM, "creator_id": 4, "columns": columns}
    assert client.change_items([upload]).events == 1
    service.wait_until(lambda: client.get(f"/v1/items/{NEW_ITEM}").json()["is_indexed"])
    assert (
        client.record(
            [{"event": "impression", "user_id": 2, "item_id": NEW_ITEM, "labels": ["click"]}]
        ).events
        == 1
    )
    service.wait_until(lambda: NEW_ITEM in client.get("/v1/users/2").json()["lists"]["history"]["newest"])
    assert client.change_items([{"event": "block", "item_id": NEW_ITEM}]).events == 1
    service.wait_until(lambda: client.get(f"/v1/items/{NEW_ITEM}").json()["is_blocked"])
    assert client.record([{"event": "nothing"}]).refused == {"unknown event": 1}


def test_event_counts_once_if_it_is_sent_again(client, service):
    def read_columns():
        return client.get("/v1/users/3").json()["columns"]

    row = {
        "event": "impression",
        "user_id": 3,
        "item_id": 7,
        "event_id": str(uuid4()),
        "time_ms": time_ns() // 1_000_000,
    }
    before = read_columns()
    for _ in range(3):
        assert client.record([row]).events == 1
    service.wait_until(lambda: read_columns() != before)
    after = read_columns()
    assert [after[name] - before[name] for name in after if after[name] != before[name]] == [1]


def test_async_client_sends_requests_at_once(service):
    async def recommend_many():
        async with AsyncClient(service.url, timeout_s=60) as client:
            return await asyncio.gather(*(client.recommend(user_id=user, k=3) for user in range(1, 13)))

    assert [page.user_id for page in asyncio.run(recommend_many())] == [*range(1, 13)]


def test_caller_does_not_notice_a_killed_worker(config):
    with (
        RunningService(config, "--workers", "2") as running,
        Client(running.url, timeout_s=60, retries=20) as client,
    ):
        for user in range(1, 3):
            running.wait_until(lambda: len(running.ready_pids()) == 2)
            os.kill(client.get("/v1/status").json()["pid"], signal.SIGKILL)
            assert len(client.recommend(user_id=user, k=3).items) == 3
