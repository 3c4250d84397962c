"""Clients that send slowly, too much, or no HTTP cost the others nothing.

Slow heads and clients that do not read are limits of the proxy: deploy/haproxy.cfg.
"""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

LONG_S = 60
HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
GOOD = HEAD + b'content-length: 14\r\n\r\n{"user_id": 1}'
CLOSE = b"\r\nconnection: close\r\n\r\n"


class RawConnection:
    """A socket. `read_to_end` returns what the service sends until it closes the connection."""

    def __init__(self, service):
        host, _, port = service.url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=LONG_S)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def read_to_end(self):
        data = b""
        with suppress(ConnectionResetError):
            while part := self.socket.recv(1 << 16):
                data += part
        self.socket.close()
        return data


def status(response):
    return int(response.split(b" ", 2)[1]) if response.startswith(b"HTTP/1.1 ") else None


def json_of(response):
    return json.loads(response.partition(b"\r\n\r\n")[2])


def test_slow_bodies_end_with_408_and_other_clients_are_served(service):
    bodies = [RawConnection(service).send(HEAD + b'content-length: 12\r\n\r\n{"us') for _ in range(50)]
    chunked = HEAD + b'transfer-encoding: chunked\r\n\r\n4\r\n{"us\r\n'
    chunks = [RawConnection(service).send(chunked) for _ in range(50)]
    for user in range(20):
        assert len(service.ask(user)["items"]) == 10
    with ThreadPoolExecutor(100) as pool:
        responses = [*pool.map(RawConnection.read_to_end, [*bodies, *chunks])]
    assert {status(response) for response in responses} == {408}
    assert all(b"within 5 seconds" in response for response in responses)


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, {400}),
        (b"\r\n\r\n\r\nHELLO\r\n\r\n", {400}),
        (b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", {505}),
        (b"GET /healthz HTTP/2.0\r\nhost: localhost\r\n\r\n", {505}),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", {400}),
        (HEAD + b"content-length: -5\r\n\r\n", {400}),
        (HEAD + b"content-length: 5\r\ncontent-length: 50\r\n\r\nabcde", {400}),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", {400}),
        (HEAD + b"x: " + b"a" * 66_000 + b"\r\n\r\n", {400, 431}),
        (HEAD + b"x: " + b"a" * 150_000 + b"\r\n\r\n", {400, 431}),
        (b"GET /" + b"a" * 200_000, {400}),
        (b"CONNECT other.example:443 HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n", {403}),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n\x00\x01\x02garbage\r\n\r\n", {200, 400}),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_invalid_http_is_refused_and_the_connection_ends(service, data, statuses):
    response = RawConnection(service).send(data).read_to_end()
    assert status(response) in statuses, response
    assert len(service.ask(1)["items"]) == 10


def test_body_with_length_and_chunks_is_read_as_chunks(service):
    chunks = (
        b'transfer-encoding: chunked\r\ncontent-length: 5\r\nconnection: close\r\n\r\ne\r\n{"user_id": 1}\r\n'
    )
    response = RawConnection(service).send(HEAD + chunks + b"0\r\n\r\n").read_to_end()
    assert status(response) in (200, 400)


def test_body_that_is_too_long_is_refused_before_it_is_sent(service):
    response = RawConnection(service).send(HEAD + b"content-length: 1000000000\r\n\r\n{").read_to_end()
    assert status(response) == json_of(response)["status"] == 413


def test_body_without_length_is_cut_at_the_limit(service):
    n_sent = 0

    def chunks():
        nonlocal n_sent
        for _ in range(16_384):  # a gigabyte
            n_sent += 65_536
            yield b" " * 65_536

    with suppress(httpx.TransportError):  # the connection may end while the client sends
        response = service.client.post(
            "/v1/recommend", content=chunks(), headers={"content-type": "application/json"}
        )
        assert response.status_code == 413
    assert n_sent < 100_000_000
    assert len(service.ask(1)["items"]) == 10


def test_pipelined_requests_are_answered_in_their_order(service):
    bodies = [b'{"user_id": %d, "k": %d}' % (user, user) for user in range(1, 6)]
    requests = b"".join(HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    last = b"GET /healthz HTTP/1.1\r\nhost: localhost" + CLOSE
    responses = RawConnection(service).send(requests + last).read_to_end().split(b"HTTP/1.1 ")[1:]
    values = [json_of(response) for response in responses]
    assert [len(value["items"]) for value in values[:5]] == [1, 2, 3, 4, 5]
    assert values[5]["status"] == "alive"


def test_encoded_path_query_and_absolute_url_lead_to_the_route(service):
    for url in (b"/v1/%72ecommend", b"/v1/recommend?a=1"):
        request = GOOD.replace(b"/v1/recommend", url).replace(b"\r\n\r\n", CLOSE)
        response = RawConnection(service).send(request).read_to_end()
        assert status(response) == 200 and len(json_of(response)["items"]) == 10


def test_thousands_of_pipelined_requests_are_answered(service):
    n, invalid = 2_000, HEAD + b"content-length: 2\r\n\r\n{}"
    connection = RawConnection(service).send(invalid * n + invalid.replace(b"\r\n\r\n", CLOSE))
    responses = connection.read_to_end().split(b"HTTP/1.1 ")[1:]
    assert len(responses) == n + 1 and {response[:3] for response in responses} == {b"422"}
    assert "Traceback" not in service.read_log()


def test_client_that_expects_100_continue_gets_it(service):
    head = GOOD.partition(b"\r\n\r\n")[0] + b"\r\nexpect: 100-continue" + CLOSE
    connection = RawConnection(service).send(head)
    assert connection.socket.recv(1 << 16).startswith(b"HTTP/1.1 100 Continue\r\n")
    assert status(connection.send(b'{"user_id": 1}').read_to_end()) == 200


def test_clients_that_leave_while_they_wait_leave_no_call_behind(service):
    for user in range(30):
        body = b'{"user_id": %d}' % user
        request = HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)
        RawConnection(service).send(request).socket.close()
    service.wait_until(lambda: service.client.get("/v1/status").json()["queues"]["recommend"]["n_calls"] == 0)
    assert len(service.ask(1)["items"]) == 10
