"""Clients that send slowly, too much, or no HTTP at all cost the others nothing."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

LONG = 60


class Raw:
    """A connection by itself. ``all`` gives what the service sends until it closes the connection."""

    def __init__(self, service):
        host, _, port = service.url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=LONG)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def all(self):
        found = b""
        try:
            while part := self.socket.recv(1 << 16):
                found += part
        except ConnectionResetError:
            pass
        self.socket.close()
        return found


HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CLOSE = b"\r\nconnection: close\r\n\r\n"
GOOD = HEAD + b'content-length: 11\r\n\r\n{"user": 1}'


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def test_slow_clients_are_ended_and_others_are_answered_meanwhile(service):
    service.until(lambda: {each["state"] for each in service.workers()} == {"ready"})
    patient = Raw(service).send(GOOD)  # from before the others' time begins
    assert status(patient.socket.recv(1 << 16)) == 200
    refused = Raw(service).send(GOOD)
    assert status(refused.socket.recv(1 << 16)) == 200
    assert status(refused.send(GOOD.replace(b"localhost", b"evil.example")).socket.recv(1 << 16)) == 403
    silent = [Raw(service) for _ in range(50)]
    heads = [Raw(service).send(b"POST /v1/recommend HTTP/1.1\r\nhost: loc") for _ in range(50)]
    bodies = [Raw(service).send(HEAD + b'content-length: 12\r\n\r\n{"us') for _ in range(50)]
    chunks = [Raw(service).send(HEAD + b'transfer-encoding: chunked\r\n\r\n4\r\n{"us\r\n') for _ in range(50)]
    for user in range(20):
        assert len(service.ask(user)["items"]) == 10
    with ThreadPoolExecutor(200) as pool:
        late = [*pool.map(Raw.all, [*bodies, *chunks])]
        assert {status(each) for each in late} == {408} and all(b"within 5 seconds" in each for each in late)
        assert {*pool.map(Raw.all, [*silent, *heads])} == {b""}
    for each in (patient, refused):  # the time of a body that was refused with its head is over with the body
        assert status(each.send(GOOD).socket.recv(1 << 16)) == 200


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, {400}),
        (b"\r\n\r\n\r\nHELLO\r\n\r\n", {400}),
        (b"GET / HTTP/9.9\r\n\r\n", {400}),
        (HEAD + b"content-length: -5\r\n\r\n", {400}),
        (HEAD + b"content-length: 5\r\ncontent-length: 50\r\n\r\nabcde", {400}),
        (HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nabcde", {400}),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", {400}),
        (HEAD + b"x: " + b"a" * 200_000, {431, None}),
        (b"GET /" + b"a" * 200_000, {431, None}),
        (b"CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n", {400, 403, 404}),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n\x00\x01\x02garbage\r\n\r\n", {200, 400}),
    ],
    ids=lambda each: repr(each)[:50],
)
def test_what_is_no_http_is_refused_and_the_connection_ends(service, sent, statuses):
    answer = Raw(service).send(sent).all()
    assert status(answer) in statuses, answer
    assert len(service.ask(1)["items"]) == 10


def test_a_body_that_is_too_long_is_refused_before_it_is_sent(service):
    answer = Raw(service).send(HEAD + b"content-length: 1000000000\r\n\r\n{").all()
    assert status(answer) == 413 and json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 413
    answer = service.client.post(
        "/v1/recommend", content=b" " * 3_000_000, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_a_body_that_says_no_length_is_cut_at_the_bound(service):
    sent = 0

    def endless():
        nonlocal sent
        for _ in range(16_384):  # a gigabyte
            sent += 65_536
            yield b" " * 65_536

    with suppress(httpx.TransportError):  # the connection may end while the client sends
        answer = service.client.post(
            "/v1/recommend", content=endless(), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
    assert sent < 100_000_000
    assert len(service.ask(1)["items"]) == 10


def test_requests_that_are_sent_without_waiting_are_answered_in_their_order(service):
    body = [b'{"user": %d, "k": %d}' % (user, user) for user in range(1, 6)]
    one = b"".join(HEAD + b"content-length: %d\r\n\r\n%s" % (len(each), each) for each in body)
    last = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    answers = Raw(service).send(one + last).all().split(b"HTTP/1.1 ")[1:]
    found = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in answers]
    assert [len(each["items"]) for each in found[:5]] == [1, 2, 3, 4, 5] and found[5]["status"] == "alive"


def test_a_path_that_is_written_otherwise_is_the_same_path(service):
    for url in (b"/v1/%72ecommend", b"/v1/recommend?a=1", b"http://localhost/v1/recommend"):
        answer = Raw(service).send(GOOD.replace(b"/v1/recommend", url).replace(b"\r\n\r\n", CLOSE)).all()
        assert status(answer) == 200 and len(json.loads(answer.partition(b"\r\n\r\n")[2])["items"]) == 10


def test_many_requests_in_one_packet_are_answered_though_nobody_reads_them_at_once(service):
    n, wrong = 2_000, HEAD + b"content-length: 2\r\n\r\n{}"
    answers = Raw(service).send(wrong * n + wrong.replace(b"\r\n\r\n", CLOSE)).all().split(b"HTTP/1.1 ")[1:]
    assert len(answers) == n + 1 and {each[:3] for each in answers} == {b"422"}
    assert "Traceback" not in service.told()


def test_who_asks_whether_to_send_a_body_is_told_to(service):
    asks = Raw(service).send(GOOD.partition(b"\r\n\r\n")[0] + b"\r\nexpect: 100-continue" + CLOSE)
    assert asks.socket.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert status(asks.send(b'{"user": 1}').all()) == 200


def test_what_follows_requests_that_run_and_is_no_http_ends_them_without_a_fault(service):
    body = b'{"requests": [%s]}' % b", ".join([b'{"user": 1}'] * 8)
    one = HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)
    assert status(Raw(service).send(one * 3 + b"garbage\r\n\r\n").all()) in {200, 400}
    Raw(service).send(one * 3).socket.close()
    service.until(lambda: service.client.get("/v1/status").json()["admission"]["recommend"]["inside"] == 0)
    assert "Traceback" not in service.told()


def test_clients_that_leave_while_they_wait_leave_nothing_behind(service):
    for user in range(30):
        body = b'{"user": %d}' % user
        Raw(service).send(HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)).socket.close()
    end = time.monotonic() + LONG
    while service.client.get("/v1/status").json()["admission"]["recommend"]["inside"]:
        assert time.monotonic() < end
    assert len(service.ask(1)["items"]) == 10
