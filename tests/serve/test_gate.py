"""What stands before every endpoint: faults are answered and logged, and replies are counted by few names."""

import asyncio
import logging
import socket

import msgspec
import pytest

from karec.serve.auth import Tokens
from karec.serve.gate import Gate, route_of
from karec.serve.outlet import Outlet
from karec.serve.problems import ProblemError
from karec.serve.straight import STRAIGHT, Call


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


def gate_of(app, replied):
    return Gate(app, lambda: Tokens({}), {}, lambda *told: replied.append(told[:2]))


def test_who_is_not_let_in_is_answered_before_anything_else_runs():
    replied = []

    async def app(scope, receive, send):
        raise AssertionError

    gate = Gate(app, lambda: Tokens({"token": (b"",)}), {}, lambda *told: replied.append(told[:2]))
    statuses, body = called(gate, "/v1/events")
    assert statuses == [401] and msgspec.json.decode(body)["status"] == 401
    assert replied == [("/v1/events", 401)]
    with pytest.raises(ProblemError):
        gate.admit({"method": "POST", "path": STRAIGHT, "headers": []})


def test_a_reply_is_counted_once_and_a_fault_that_is_answered_already_ends_here():
    replied = []

    async def faulty(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
        raise KeyError("secret")

    assert called(gate_of(faulty, replied), "/v1/events") == ([500], b"{}")
    assert replied == [("/v1/events", 500)]


class Transport:
    def __init__(self):
        self.written, self.closed = b"", False

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True


class Listener:
    def __init__(self):
        self.told = []

    def response(self, *what):
        self.told.append(what[:2])


def call_of(transport, listener, keep_alive=True):
    call = Call({}, transport, keep_alive, False, lambda: None, listener)
    call.headed = True
    return call


def test_a_fault_is_logged_once_and_its_answer_says_nothing_of_it(caplog):
    transport, listener = Transport(), Listener()
    with caplog.at_level(logging.ERROR):
        call_of(transport, listener).fails(KeyError("secret"))
    assert transport.written.startswith(b"HTTP/1.1 500 ") and b"secret" not in transport.written
    assert listener.told == [(STRAIGHT, 500)] and not transport.closed
    assert [record.exc_info[0] for record in caplog.records] == [KeyError]


def test_a_problem_that_ends_its_connection_says_so_once():
    transport, listener = Transport(), Listener()
    call_of(transport, listener).fails(ProblemError(413, "too long", close=True))
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ") and head.count(b"connection: close") == 1 and transport.closed
    assert int(head.partition(b"content-length: ")[2].split()[0]) == len(body)


def test_of_an_answer_the_system_takes_a_part_of_the_rest_follows_and_of_a_closed_outlet_nothing_is_written():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        transport, json = Transport(), b"x" * 4_000_000
        call = call_of(transport, Listener())
        call.outlet = Outlet(ours.fileno())
        left = call.writes(json)
        assert 0 < len(left) < len(json) and call.outlet.torn
        call.answered(left)
        assert transport.written == left and call.response_complete and not call.outlet.torn
        call.outlet.close()
        assert call.outlet.write(b"more") == b"more"
        call.disconnected = True
        call.answered(b"more")
        assert transport.written == left


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/try", "/v1/try"),
        ("/v1/users/7/x", "/v1/users/ID"),
        ("/v1/users", "other"),
        ("/page/a.js", "/page/"),
    ],
)
def test_routes_have_few_names(path, route):
    assert route_of(path) == route
