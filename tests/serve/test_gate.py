"""What stands before every endpoint: faults are answered and logged, and replies are counted by few names."""

import asyncio
import logging

import msgspec
import pytest

from karec.serve.auth import Tokens
from karec.serve.gate import Gate, route_of
from karec.serve.problems import ProblemError


def called(gate, path="/v1/recommend", method="POST"):
    """(status, body, headers) of each reply that was begun."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"localhost")]}
    asyncio.run(gate(scope, receive, send))
    starts = [message for message in sent if message["type"] == "http.response.start"]
    bodies = [message.get("body", b"") for message in sent if message["type"] == "http.response.body"]
    return [message["status"] for message in starts], b"".join(bodies)


def gate_of(straight, replied):
    async def elsewhere(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return Gate(elsewhere, straight, lambda: Tokens({}), {}, lambda *told: replied.append(told))


@pytest.mark.parametrize("before", [True, False], ids=["before the answer", "after it"])
def test_a_fault_is_logged_once_and_answered_where_nothing_was(caplog, before):
    replied = []

    async def faulty(scope, receive, send):
        if not before:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
        raise KeyError("secret")

    with caplog.at_level(logging.ERROR):
        statuses, body = called(gate_of(faulty, replied))
    assert statuses == [500 if before else 200] and b"secret" not in body
    assert replied == [("/v1/recommend", statuses[0])]
    assert [record.exc_info[0] for record in caplog.records] == [KeyError]


def test_a_problem_is_answered_and_counted_and_what_is_not_a_feed_goes_elsewhere():
    replied = []

    async def refusing(scope, receive, send):
        raise ProblemError(422, "no", "k")

    gate = gate_of(refusing, replied)
    statuses, body = called(gate)
    assert statuses == [422] and msgspec.json.decode(body)["field"] == "k"
    assert called(gate, method="GET")[0] == [404]
    assert replied == [("/v1/recommend", 422), ("/v1/recommend", 404)]


@pytest.mark.parametrize(
    ("path", "route"),
    [("/v1/try", "/v1/try"), ("/v1/users/7/x", "/v1/users/ID"), ("/v1/users", "other"), ("/page/a.js", "/page/")],
)
def test_routes_have_few_names(path, route):
    assert route_of(path) == route
