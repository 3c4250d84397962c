"""Workers that die or hang, signals, reloads, and a restart of the parent."""

import json
import os
import signal
import socket
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from live_bundle import live_config
from running_service import RunningService, with_serve_table
from small_bundle import write_next_run

from karec.bundle import Bundle
from karec.cli import main
from karec.files import write_text_aside
from karec.online.read_log import EventSource, read_log
from karec.refresh.publish_run import publish

USER = 1
LONG_S = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = live_config(tmp_path_factory.mktemp("life"))
    return with_serve_table(path, "max_queue_ms = 60_000")  # a machine under load refuses nothing


@pytest.fixture
def running(config):
    with RunningService(config, "--workers", "2") as service:
        service.wait_until(lambda: len(service.ready_pids()) == 2)
        yield service


def test_killed_worker_is_replaced_and_its_events_are_stored(running, config):
    ids = [uuid.uuid4() for _ in range(20)]
    for id in ids:
        row = {"event": "follow", "user_id": USER, "creator_id": 2, "event_id": str(id)}
        assert running.post("/v1/events", {"events": [row]}).json()["events"] == 1
    before = running.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
        running.wait_until(
            lambda pid=pid: pid not in running.worker_pids() and len(running.ready_pids()) == 2
        )
    assert not running.ready_pids() & before
    _, stored = read_log(EventSource(f"sqlite:{config.parent / 'online.db'}"))
    numbers = {
        source << 64 | number
        for source, number in zip(stored.source.tolist(), stored.number.tolist(), strict=True)
    }
    assert {id.int for id in ids} <= numbers


def test_hung_worker_is_replaced(running):
    hung = min(running.worker_pids())
    os.kill(hung, signal.SIGSTOP)
    running.wait_until(lambda: hung not in running.worker_pids() and len(running.ready_pids()) == 2)
    body = {"user_id": USER}
    statuses = [httpx.post(f"{running.url}/v1/recommend", json=body).status_code for _ in range(6)]
    assert statuses == [200] * 6


def test_service_with_a_hung_worker_ends_at_once(config):
    with RunningService(config, "--workers", "2") as service:
        service.wait_until(lambda: len(service.ready_pids()) == 2)
        os.kill(min(service.worker_pids()), signal.SIGSTOP)
        service.signal(signal.SIGTERM)
        assert service.process.wait(20) == 0, service.read_log()  # drain_seconds is 30


def test_requests_before_sigterm_are_answered(running):
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    body = json.dumps({"requests": [{"user_id": USER, "k": 50}] * 20}).encode()
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    connections = [socket.create_connection((host, int(port)), timeout=LONG_S) for _ in range(8)]
    for connection in connections:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        data = connection.recv(1 << 16)
        while not data.endswith(b"}"):  # then a worker has the connection
            data += connection.recv(1 << 16)
    for connection in connections:
        connection.sendall(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
    running.wait_until(lambda: sum_of_calls(running) >= 8)
    running.signal(signal.SIGTERM)
    for connection in connections:
        with connection, connection.makefile("rb") as response:
            assert response.read().startswith(b"HTTP/1.1 200")
    assert running.process.wait(LONG_S) == 0, running.read_log()


def sum_of_calls(service):
    """Returns the requests in flight of all workers, except the scrape itself."""
    lines = service.client.get("/metrics").text.splitlines()
    name = 'karec_requests_in_flight{route="/v1/recommend"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_inherited_socket_restarts_the_parent_without_a_failed_connection(config):
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        options = ("--fd", str(listener.fileno()))
        ended = threading.Event()

        def ask_on(url):
            n = 0
            while not ended.is_set():
                assert httpx.post(f"{url}/v1/recommend", json={"user_id": USER}).status_code == 200
                n += 1
            return n

        with ThreadPoolExecutor(4) as pool:
            old = RunningService(config, *options, pass_fds=(listener.fileno(),))
            asking = [pool.submit(ask_on, old.url) for _ in range(4)]
            try:
                with RunningService(config, *options, pass_fds=(listener.fileno(),)) as new:
                    new.wait_until(lambda: new.ready_pids() & new.worker_pids())
                    assert old.end() == 0, old.read_log()
                    assert new.ready_pids() == new.worker_pids()
                    ended.set()
                    assert all(call.result() for call in asking)
            finally:
                ended.set()
                old.end()


def test_signals_during_the_start_are_handled(config):
    with RunningService(config, "--workers", "2", ready=False) as service:
        service.signal(signal.SIGHUP)
        service.wait_until(lambda: len(service.ready_pids()) == 2)
        assert "ended with" not in service.read_log()
    with RunningService(config, "--workers", "2", ready=False) as service:
        service.signal(signal.SIGTERM)
        assert service.process.wait(LONG_S) == 0, service.read_log()


def test_workers_end_with_a_killed_parent(config):
    service = RunningService(config, "--workers", "2")
    service.wait_until(lambda: len(service.ready_pids()) == 2)
    pids = service.worker_pids()
    service.process.kill()
    service.process.wait(LONG_S)
    for pid in pids:
        subprocess.run(["tail", f"--pid={pid}", "-f", os.devnull], timeout=LONG_S, check=True)
    service.end()


def test_new_bundle_and_new_file_are_served_while_requests_run(running, config):
    bundle = Bundle.open(config.parent / "bundles", verify=False)
    run = write_next_run(bundle, config.parent / "run-2")
    ended = threading.Event()

    def ask_on():
        statuses = set()
        while not ended.is_set():
            statuses.add(running.post("/v1/recommend", {"user_id": USER}).status_code)
        return statuses

    text = config.read_text()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_on) for _ in range(2)]
        try:
            publish(run, bundle.snapshot, config.parent / "bundles")  # the workers find it by themselves
            running.wait_until(lambda: running.read_log().count("in place of") == 2)
            write_text_aside(config, text + "# changed\n")
            running.signal(signal.SIGHUP)
            running.wait_until(lambda: running.read_log().count("in place of") == 4)
        finally:
            ended.set()
        assert [call.result() for call in asking] == [{200}, {200}]
    assert running.ask(USER)["versions"]["model"] == 2


def test_broken_file_is_refused_and_the_old_one_stays_in_service(running, config):
    text = config.read_text()
    write_text_aside(config, text.replace('use = "popular"', 'use = "populer"'))
    running.signal(signal.SIGHUP)
    running.wait_until(lambda: running.read_log().count("was not reloaded") == 2)
    assert "popular" in running.read_log() and "populer" in running.read_log()
    assert len(running.ask(USER)["items"]) == 10
    killed = min(running.worker_pids())
    os.kill(killed, signal.SIGKILL)  # a new worker cannot start with the broken file
    running.wait_until(lambda: "cannot be served" in running.read_log())
    assert all(len(running.ask(USER)["items"]) == 10 for _ in range(6))
    write_text_aside(config, text.replace("[serve]", "[serve]\nmax_k = 4"))
    running.signal(signal.SIGHUP)
    running.wait_until(lambda: len(running.ready_pids()) == 2)
    assert killed not in running.worker_pids()
    running.wait_until(lambda: running.post("/v1/recommend", {"user_id": USER, "k": 5}).status_code == 422)
    write_text_aside(config, text)


def test_events_that_cannot_be_stored_are_refused_for_now(tmp_path):
    path = live_config(tmp_path)
    row = {"event": "follow", "user_id": USER, "creator_id": 2}
    with RunningService(path) as service:
        store, away = tmp_path / "online.db", tmp_path / "away.db"
        store.rename(away)
        refused = service.post("/v1/events", {"events": [row]})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1, refused.text
        health = service.client.get("/healthz").text
        assert "degraded" in health and str(tmp_path) not in refused.text + health
        assert f"the events were not stored: {store}" in service.read_log()
        away.rename(store)
        assert service.post("/v1/events", {"events": [row]}).json()["events"] == 1


def test_worker_is_not_ready_before_it_has_read_the_online_store(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path = live_config(tmp_path, url=f"valkey://127.0.0.1:{port}/0")
    with RunningService(path, ready=False) as service:
        service.wait_until(lambda: "cannot be opened yet" in service.client.get("/readyz").json()["detail"])
        assert str(tmp_path) not in service.client.get("/readyz").text
        assert service.client.get("/readyz").status_code == 503
        assert service.post("/v1/recommend", {"user_id": USER}).status_code == 503
        assert service.client.get("/healthz").status_code == 200
        command = ["valkey-server", "--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes"]
        store = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            service.wait_until(lambda: service.client.get("/readyz").status_code == 200)
            assert len(service.ask(USER)["items"]) == 10
            service.wait_until(lambda: service.client.get("/healthz").json()["online_store"] is None)
        finally:
            store.terminate()
            store.wait()
        service.wait_until(lambda: service.client.get("/healthz").json()["online_store"])
        assert service.ask(USER)["degraded"]


def test_file_without_token_and_host_does_not_open_a_reachable_port(config):
    text = config.read_text()
    (config.parent / "token").write_text("a" * 20)
    guarded = '[serve]\nhost = "0.0.0.0"\ntoken = "file:token"\nwatch_seconds = 0.2\n'
    write_text_aside(config, text.replace("[serve]\n", guarded))
    try:
        with RunningService(config) as service:
            url = service.url.replace("0.0.0.0", "localhost")
            service.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {'a' * 20}"})
            write_text_aside(config, text)
            service.wait_until(lambda: "accepts calls of other machines" in service.read_log())
            os.kill(min(service.worker_pids()), signal.SIGKILL)  # nor does a new worker
            service.wait_until(lambda: "cannot be served" in service.read_log())
            write_text_aside(config, text.replace("[serve]\n", guarded))
            service.wait_until(lambda: service.client.get("/v1/status").status_code == 200)
            assert httpx.get(f"{url}/v1/status").status_code == 401
    finally:
        write_text_aside(config, text)


def test_first_worker_that_cannot_start_ends_the_service_with_2(tmp_path):
    path = live_config(tmp_path)
    path.write_text(path.read_text().replace('bundle = "bundles"', 'bundle = "no-bundles"'))
    service = RunningService(path, ready=False)
    assert service.process.wait(LONG_S) == 2
    assert "no-bundles" in service.read_log()
    service.end()


@pytest.mark.parametrize(
    ("table", "options", "reason"),
    [
        ("", ["--host", "0.0.0.0"], "set [serve] token"),
        ('[serve]\ntoken = "secret"\n', [], "not the token"),
        ('[serve]\ntoken = "env:KAREC_NO_SUCH"\n', [], "KAREC_NO_SUCH"),
        ('[serve]\ntoken = "file:none"\n', [], "cannot be read"),
        ("[serve]\nworkers = 0\n", [], "workers = 0, expected 1 to 256"),
        ("[serve]\nprot = 1\n", [], "did you mean 'port'"),
        ("", ["--port", "70000"], "port = 70000"),
        ("", ["--host", "192.0.2.1", "--insecure"], "listen on 192.0.2.1"),
        ("", ["--fd", "987"], "--fd 987 is not a socket"),
    ],
)
def test_wrong_setting_ends_the_service_before_it_opens_anything(tmp_path, capsys, table, options, reason):
    path = tmp_path / "karec.toml"
    path.write_text(f'bundle = "bundles"\n{table}[scenes.home]\n')
    assert main(["serve", str(path), *options]) == 2
    assert reason in capsys.readouterr().err
