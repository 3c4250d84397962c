"""The limits that deploy/haproxy.cfg enforces in front of the service, in a real haproxy."""

import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from doc_pages import page_blocks
from haproxy import CONFIG, MISSING, PROGRAM, haproxy
from scripted_service import BREAK, ok, scripted_service

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

POST = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
LIMIT_S = 30


@pytest.fixture(scope="module")
def service():
    with scripted_service() as service:
        service.set_answers(ok({}))
        yield service


@pytest.fixture(scope="module")
def proxy(service):
    with haproxy(service.url.removeprefix("http://")) as proxy:
        yield proxy


def connect(url):
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=LIMIT_S)


def send(url, data):
    """Returns the status, or None if haproxy reset the connection because it did not read all data."""
    with connect(url) as connection:
        try:
            connection.sendall(data)
            return int(connection.recv(1 << 16).split(b" ")[1])
        except (ConnectionResetError, BrokenPipeError):
            return None


def n_connections(proxy):
    (line,) = re.findall(
        r'^haproxy_frontend_current_sessions\{proxy="public"\} (\d+)', httpx.get(proxy.metrics_url).text, re.M
    )
    return int(line)


def test_haproxy_accepts_the_configuration():
    done = subprocess.run([PROGRAM, "-c", "-f", CONFIG], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warning" not in done.stderr.lower(), done.stderr


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"content-length: 2\r\n\r\n{}", 200),
        (POST + b"x: " + b"a" * 60_000 + b"\r\ncontent-length: 2\r\n\r\n{}", 200),
        (POST + b"x: " + b"a" * 67_000 + b"\r\ncontent-length: 2\r\n\r\n{}", 400),
        (POST + b"x: " + b"a" * 150_000 + b"\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"GET /" + b"a" * 150_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, 400),
        (POST + b"content-length: 5\r\ncontent-length: 50\r\n\r\nabcde", 400),
        (POST + b"content-length: -5\r\n\r\n", 400),
        (POST + b"content-length: 1048577\r\n\r\n", 413),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_haproxy_refuses_what_is_not_http_1_or_too_long(proxy, service, data, status):
    n_before = len([request for request in service.requests if request.path != "/readyz"])
    assert send(proxy.url, data) in ((status, None) if len(data) > 64_000 else (status,))
    n_after = len([request for request in service.requests if request.path != "/readyz"])
    assert n_after - n_before == (status == 200)


def test_equal_host_headers_reach_the_service_as_one(proxy, service):
    data = b"GET /hosts HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert send(proxy.url, data) == 200
    (request,) = [request for request in service.requests if request.path == "/hosts"]
    assert request.headers["host"] == "localhost"


def test_slow_clients_are_cut_while_others_get_answers(proxy, service):
    large = b" " * 50_000_000
    service.set_answers(ok(lambda request: large if request.path == "/large" else {}))

    def wait_for_end(data):
        with connect(proxy.url) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def read_late():
        with connect(proxy.url) as connection:
            connection.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
            is_over.wait(LIMIT_S)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    is_over = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        head = pool.submit(wait_for_end, b"GET / HTTP/1.1\r\nhost: loc")
        body = pool.submit(wait_for_end, POST + b'content-length: 20\r\n\r\n{"us')
        reader = pool.submit(read_late)
        assert httpx.get(f"{proxy.url}/").status_code == 200
        for answer in (head.result(LIMIT_S), body.result(LIMIT_S)):
            assert answer.startswith(b"HTTP/1.1 408 ")
        end = time.monotonic() + LIMIT_S
        while n_connections(proxy) > 0:
            assert time.monotonic() < end
            time.sleep(0.1)
        is_over.set()
        assert len(reader.result(LIMIT_S)) < len(large)


def test_haproxy_sends_a_call_to_another_host_if_the_connection_breaks(service):
    with scripted_service() as broken:
        broken.set_answers(ok(lambda request: {}))
        hosts = [url.removeprefix("http://") for url in (broken.url, service.url)]
        with haproxy(*hosts) as proxy, httpx.Client(base_url=proxy.url) as client:
            service.set_answers(ok({"host": "service"}))
            broken.set_answers(BREAK)
            for _ in range(4):
                assert client.post("/v1/recommend", json={}).json() == {"host": "service"}


def test_haproxy_refuses_with_retry_after_if_no_host_is_there():
    with ExitStack() as stack:
        service = stack.enter_context(scripted_service())
        service.set_answers(ok({}))
        with haproxy(service.url.removeprefix("http://")) as proxy:
            stack.close()
            end = time.monotonic() + LIMIT_S
            while (response := httpx.post(f"{proxy.url}/v1/recommend", json={})).status_code != 503:
                assert time.monotonic() < end
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 503


def test_haproxy_sends_the_calls_of_each_shop_to_its_service(tmp_path):
    """The lines of docs/serving.md, with services of this machine."""
    (block,) = [block for block in page_blocks("docs/serving.md") if block.language == "haproxy"]
    head, _, rest = CONFIG.read_text().partition("    default_backend hosts\n")
    config = tmp_path / "haproxy.cfg"
    with scripted_service() as books, scripted_service() as games:
        text = head + block.text + "\n" + rest[rest.index("frontend metrics") :]
        for port, service in ((8081, books), (8082, games)):
            text = re.sub(rf"10\.0\.0\.\d:{port}", service.url.removeprefix("http://"), text)
        config.write_text(text)
        books.set_answers(ok({"shop": "books"}))
        games.set_answers(ok({"shop": "games"}))
        with haproxy(config=config, host="books.example.com") as proxy:

            def shop_of(host):
                return httpx.post(f"{proxy.url}/v1/recommend", json={}, headers={"host": host})

            assert shop_of("Books.example.com:8080").json() == {"shop": "books"}
            assert shop_of("games.example.com").json() == {"shop": "games"}
            assert shop_of("other.example.com").status_code == 503
