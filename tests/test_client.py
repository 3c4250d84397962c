"""karec.client against a service with scripted answers, and against one that runs."""

import asyncio
import inspect
import socket
import subprocess
import sys
import traceback
from uuid import UUID

import numpy as np
import pytest
from scripted_service import BREAK, ok, scripted_service

from karec.client import AsyncClient, Client, Item, Page, Problem, Recorded, Unreachable
from karec.errors import KarecError

PAGE = {
    "request_id": "r-1",
    "user_id": "c-7",
    "scene": "home",
    "items": [{"position": 0, "item_id": "song-1", "score": 0.5, "sources": ["model"], "columns": {"a": 1}}],
    "degraded": ["recall.social"],
    "is_cold_start": False,
    "versions": {"bundle": "v0000000002"},
    "shortfall": None,
    "run_ms": 4.5,
    "key_of_a_newer_service": 1,
}
RECORDED = {"events": 1, "refused": {"item_id is missing": 2}}
BUSY = (503, {"retry-after": "0"}, {"detail": "the queue is full"})
ROWS = [{"event": "block", "item_id": 1}, {"event": "block", "item_id": 2}]


@pytest.fixture
def service(monkeypatch):
    for name in ("KAREC_URL", "KAREC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with scripted_service() as service:
        yield service


def call_sync(method, *arguments, url="", client=None, **named):
    with Client(url, **(client or {})) as made:
        return getattr(made, method)(*arguments, **named)


def call_async(method, *arguments, url="", client=None, **named):
    async def run():
        async with AsyncClient(url, **(client or {})) as made:
            return await getattr(made, method)(*arguments, **named)

    return asyncio.run(run())


@pytest.fixture(params=[call_sync, call_async], ids=["Client", "AsyncClient"])
def call(request):
    """call(method, …, url=, client={settings}): result of one call of a new client."""
    return request.param


def test_recommend_returns_a_page(service, call):
    service.set_answers(ok(PAGE))
    page = call("recommend", url=service.url, user_id="c-7", scene="home", k=1, shown=["song-2"])
    assert page == Page(
        user_id="c-7",
        scene="home",
        items=(Item(0, "song-1", 0.5, ("model",), {"a": 1}),),
        request_id="r-1",
        degraded=("recall.social",),
        versions={"bundle": "v0000000002"},
        run_ms=4.5,
    )
    (request,) = service.requests
    assert (request.method, request.path) == ("POST", "/v1/recommend")
    assert request.headers["content-type"] == "application/json"
    assert request.json == {"user_id": "c-7", "scene": "home", "k": 1, "shown": ["song-2"]}


def test_get_has_the_token_and_the_path_of_the_url(service, call):
    service.set_answers(ok({"scenes": {}}))
    response = call("get", "/v1/status", url=f"{service.url}/karec/", client={"token": "secret-1\n"})
    assert response.json() == {"scenes": {}}
    (request,) = service.requests
    assert (request.method, request.path) == ("GET", "/karec/v1/status")
    assert request.headers["authorization"] == "Bearer secret-1"


@pytest.mark.parametrize(("method", "path"), [("record", "/v1/events"), ("change_items", "/v1/items")])
def test_rows_get_rising_ids_and_a_time(service, call, method, path):
    service.set_answers(ok(RECORDED))
    own = {"event": "block", "item_id": np.int64(3), "event_id": str(UUID(int=1)), "time_ms": 5}
    assert call(method, [*ROWS * 25, own], url=service.url) == Recorded(1, {"item_id is missing": 2})
    (request,) = service.requests
    *rows, last = request.json[path.removeprefix("/v1/")]
    assert request.path == path and last == own
    ids = [UUID(row["event_id"]).int for row in rows]
    assert ids == sorted(set(ids)) and all(row["time_ms"] > 1_700_000_000_000 for row in rows)
    assert [row["item_id"] for row in rows] == [1, 2] * 25


def test_value_that_json_lacks_is_refused_before_the_call(service, call):
    with pytest.raises(ValueError, match="not JSON compliant"):
        call("recommend", url=service.url, user_id=1, deadline_ms=float("nan"))
    with pytest.raises(AttributeError, match="item"):
        call("record", [{"event": "like", "user_id": object()}], url=service.url)
    assert service.requests == []


def test_refusal_raises_the_fields_of_the_problem(service, call):
    body = {"title": "Unprocessable Content", "status": 422, "detail": "Expected `int` >= 1", "field": "k"}
    service.set_answers((422, {"content-type": "application/problem+json", "retry-after": "1"}, body))
    with pytest.raises(Problem, match=r"^422 Unprocessable .*: k: Expected `int` >= 1$") as caught:
        call("recommend", url=service.url, user_id=7)
    problem = caught.value
    assert (problem.status, problem.field, problem.retry_after_s) == (422, "k", None)
    assert isinstance(problem, KarecError) and len(service.requests) == 1


def test_error_page_of_a_proxy_raises_problem(service, call):
    service.set_answers((502, {}, b"<h1>Bad\nGateway</h1>"))
    with pytest.raises(Problem, match="502 Bad Gateway: <h1>Bad Gateway</h1>"):
        call("get", "/v1/status", url=service.url)


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"user_id": 1}', b"\xff"])
def test_answer_of_another_server_raises_unreachable(service, call, body):
    service.set_answers(ok(body))
    with pytest.raises(Unreachable, match="not a response of karec"):
        call("recommend", url=service.url, user_id=7)


@pytest.mark.parametrize(
    "first", [BUSY, (502, {"retry-after": "0"}, b""), BREAK], ids=["503", "502", "break"]
)
def test_call_is_sent_again_if_refused_for_now(service, call, first):
    service.set_answers(first, first, ok(PAGE))
    assert call("recommend", url=service.url, user_id=7).user_id == "c-7"
    assert len(service.requests) == 3


@pytest.mark.parametrize("method", ["record", "change_items"])
def test_events_keep_their_ids_if_sent_again(service, call, method):
    service.set_answers(BREAK, BUSY, ok(RECORDED))
    call(method, ROWS, url=service.url)
    first, *later = [request.body for request in service.requests]
    assert len(later) == 2 and set(later) == {first}


def test_attempts_end_after_retries(service, call):
    service.set_answers(BUSY)
    with pytest.raises(Problem, match="503 Service Unavailable: the queue is full") as caught:
        call("recommend", url=service.url, user_id=7, client={"retries": 2})
    assert len(service.requests) == 3 and caught.value.retry_after_s == 0


@pytest.mark.parametrize(("retry_after", "seconds"), [("60", 60), ("Thu, 01 Jan 1970 00:00:00 GMT", 1)])
def test_no_attempt_starts_after_the_timeout(service, call, retry_after, seconds):
    service.set_answers((503, {"retry-after": retry_after}, {}))
    with pytest.raises(Problem) as caught:
        call("recommend", url=service.url, user_id=7, client={"timeout_s": 1.0})
    assert len(service.requests) == 1 and caught.value.retry_after_s == seconds


@pytest.mark.parametrize("status", [500, 503])
def test_failure_without_retry_after_is_final(service, call, status):
    service.set_answers((status, {}, {}), ok(PAGE))
    with pytest.raises(Problem, match=str(status)):
        call("recommend", url=service.url, user_id=7)
    assert len(service.requests) == 1


def test_response_that_cannot_be_decoded_raises_unreachable(service, call):
    service.set_answers(*[(200, {"content-encoding": "gzip"}, PAGE)] * 2)
    with pytest.raises(Unreachable, match="DecodingError"):
        call("recommend", url=service.url, user_id=7, client={"retries": 1})


def test_closed_port_raises_unreachable(call):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"POST {url}/v1/recommend: ConnectError"):
            call("recommend", url=url, user_id=7, client={"retries": 1})


def test_silent_server_raises_unreachable(call):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="ReadTimeout"):
            call("recommend", url=url, user_id=7, client={"timeout_s": 0.05})


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://"])
def test_client_rejects_an_url_that_is_not_http(url, monkeypatch):
    monkeypatch.delenv("KAREC_URL", raising=False)
    with pytest.raises(ValueError, match="expected http://HOST:PORT"):
        Client(url)


def test_url_and_token_come_from_the_environment(service, call, monkeypatch):
    monkeypatch.setenv("KAREC_URL", service.url)
    monkeypatch.setenv("KAREC_TOKEN", "secret-1")
    service.set_answers(ok(PAGE))
    call("recommend", user_id=7)
    call("recommend", user_id=7, client={"token": "secret-2"})
    tokens = [request.headers["authorization"] for request in service.requests]
    assert tokens == ["Bearer secret-1", "Bearer secret-2"]


@pytest.mark.parametrize("token", ["secret\nsecret", "secr\u00e9t"])
def test_token_that_no_header_can_hold_is_rejected_without_its_value(token):
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        Client("http://localhost", token=token)
    assert "secr" not in str(caught.value)


def test_messages_contain_no_secret(service, call):
    password = "hunter2"
    service.set_answers((401, {}, {}))
    url = service.url.replace("//", f"//user:{password}@")
    with pytest.raises(Problem) as refused:
        call("recommend", url=url, user_id=7, client={"token": password})
    url = f"http://user:{password}@localhost:1"
    with pytest.raises(Unreachable) as unreachable:
        call("recommend", url=url, user_id=7, client={"retries": 0})
    for caught in (refused, unreachable):
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_connections_are_reused(service):
    service.set_answers(ok(PAGE))
    with Client(service.url) as client:
        for user in range(5):
            client.recommend(user_id=user)
    assert (len(service.requests), service.n_connections) == (5, 1)


def test_clients_have_the_same_calls():
    def signatures(client):
        return {name: str(inspect.signature(getattr(client, name))) for name in own_calls}

    own_calls = [name for name in vars(Client) if not name.startswith("_")]
    assert own_calls and signatures(Client) == signatures(AsyncClient)


def test_import_loads_nothing_of_the_engine():
    code = "import karec.client, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "karec.client" in loaded
    assert not loaded & {"numpy", "numba", "onnxruntime", "pyarrow", "karec.pipeline.types", "karec.config"}


def test_missing_httpx_names_the_extra():
    code = "import sys; sys.modules['httpx'] = None\nimport karec.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = "karec.client needs the package 'httpx': pip install 'karec[serve]'"
    assert done.stderr.splitlines()[-1].endswith(message)
