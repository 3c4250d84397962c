"""Workers that die, signals, and another version while requests run."""

import json
import os
import signal
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from live_bundle import live_config
from running_service import RunningService
from small_bundle import write_next_run

from karec.bundle import Bundle
from karec.cli import main
from karec.files import write_text_aside
from karec.online.event_log.reader import read_events
from karec.refresh.publish_run import publish

USER = 1


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = live_config(tmp_path_factory.mktemp("life"), state="state")
    patient = "[serve]\nwait_ms = 60_000\n[live]"  # a machine under load refuses nothing here
    path.write_text(path.read_text().replace("[live]", patient))
    return path


@pytest.fixture
def running(config):
    with RunningService(config, "--workers", "2") as service:
        service.until(lambda: all(each["state"] == "ready" for each in service.workers()))
        yield service


def test_a_worker_that_is_killed_is_replaced_and_what_it_had_taken_in_is_in_the_log(running, config):
    told = [uuid.uuid4() for _ in range(20)]
    for each in told:
        row = {"kind": "follow", "user": USER, "creator": 2, "id": str(each)}
        assert running.post("/v1/events", {"events": [row]}).json()["events"] == 1
    before = {each["pid"] for each in running.workers()}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
        running.until(
            lambda pid=pid: {each["pid"] for each in running.workers() if each["state"] == "ready"} - {pid}
        )
    running.until(
        lambda: len({each["pid"] for each in running.workers() if each["state"] == "ready"} - before) == 2
    )
    found = read_events(config.parent / "events", 0, 2**62)
    ids = {
        source << 64 | number
        for source, number in zip(found.source.tolist(), found.number.tolist(), strict=True)
    }
    assert {each.int for each in told} <= ids


def test_requests_that_came_before_the_service_is_ended_are_answered(running):
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    body = json.dumps({"requests": [{"user": USER, "k": 50}] * 20}).encode()
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    opened = [socket.create_connection((host, int(port)), timeout=60) for _ in range(8)]
    for each in opened:
        each.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        found = each.recv(1 << 16)
        while not found.endswith(b"}"):  # a worker has the connection
            found += each.recv(1 << 16)
    for each in opened:
        each.sendall(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
    running.signal(signal.SIGTERM)
    for each in opened:
        with each, each.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 200")
    assert running.process.wait(60) == 0, running.told()


def test_who_asks_on_as_the_service_ends_is_answered_until_nobody_listens(running):
    begun = threading.Barrier(5)

    def ask_on():
        with httpx.Client(base_url=running.url, timeout=60) as client:
            assert client.get("/healthz").status_code == 200
            begun.wait()
            while True:
                try:
                    assert client.get("/healthz").status_code == 200
                except httpx.TransportError as error:
                    return type(error)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_on) for _ in range(4)]
        begun.wait()
        running.signal(signal.SIGTERM)
        # one may connect in the very last moment
        assert httpx.ConnectError in [each.result() for each in asking]
    assert running.process.wait(60) == 0, running.told()


def test_a_service_that_is_told_to_reload_or_to_end_as_it_begins_does_so(config):
    with RunningService(config, "--workers", "2", ready=False) as service:
        service.signal(signal.SIGHUP)
        service.until(lambda: sum(each["state"] == "ready" for each in service.workers()) == 2)
        assert [each["deaths"] for each in service.workers()] == [0, 0]
    with RunningService(config, "--workers", "2", ready=False) as service:
        service.signal(signal.SIGTERM)
        assert service.process.wait(60) == 0, service.told()


def test_another_bundle_and_another_file_come_into_service_while_requests_run(running, config):
    bundle = Bundle.open(config.parent / "bundles", verify=False)
    run = write_next_run(bundle, config.parent / "run-2")
    ended = threading.Event()

    def ask_on():
        statuses = set()
        while not ended.is_set():
            statuses.add(running.post("/v1/recommend", {"user": USER}).status_code)
        return statuses

    text = config.read_text()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_on) for _ in range(2)]
        try:
            for at in range(2):
                if at == 0:  # the workers find it by themselves
                    publish(run, bundle.snapshot, config.parent / "bundles")
                else:
                    write_text_aside(config, text + f"# {at}\n")
                    running.signal(signal.SIGHUP)
                running.until(lambda at=at: all(each["reloads"] > at for each in running.workers()))
        finally:
            ended.set()
        assert [each.result() for each in asking] == [{200}, {200}]
    assert running.ask(USER)["versions"]["model"] == 2


def test_a_file_that_is_broken_is_told_and_what_served_serves_on(running, config):
    text = config.read_text()
    write_text_aside(config, text.replace('use = "popular"', 'use = "populer"'))
    running.signal(signal.SIGHUP)
    running.until(lambda: all(each["refused"] for each in running.workers()))
    assert "popular" in running.workers()[0]["why"] and "populer" in running.told()
    assert len(running.ask(USER)["items"]) == 10
    (killed, *_) = [each["pid"] for each in running.workers()]
    os.kill(killed, signal.SIGKILL)  # another one cannot begin with the broken file, and does with the next
    running.until(lambda: "cannot serve" in running.told())
    assert len(running.ask(USER)["items"]) == 10
    write_text_aside(config, text.replace("[serve]", "[serve]\nk = 4"))
    running.signal(signal.SIGHUP)
    running.until(lambda: all(each["state"] == "ready" for each in running.workers()))
    assert killed not in [each["pid"] for each in running.workers()]
    running.until(lambda: running.post("/v1/recommend", {"user": USER, "k": 5}).status_code == 422)
    write_text_aside(config, text)


def test_events_that_the_log_cannot_take_are_refused_for_now(tmp_path):
    path = live_config(tmp_path, state="state")
    row = {"kind": "follow", "user": USER, "creator": 2}
    with RunningService(path) as service:
        events, away = tmp_path / "events", tmp_path / "away"
        events.rename(away)
        events.touch()
        refused = service.post("/v1/events", {"events": [row]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), refused.text
        events.unlink()
        away.rename(events)
        assert service.post("/v1/events", {"events": [row]}).json()["events"] == 1


def test_a_file_that_loses_its_token_and_host_does_not_open_a_port_that_others_reach(config):
    text = config.read_text()
    (config.parent / "token").write_text("a" * 20)
    guarded = '[serve]\nhost = "0.0.0.0"\ntoken = "file:token"\nwatch_seconds = 0.2\n'
    write_text_aside(config, text.replace("[serve]\n", guarded))
    try:
        with RunningService(config) as service:
            url = service.url.replace("0.0.0.0", "localhost")
            service.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {'a' * 20}"})
            write_text_aside(config, text)
            service.until(lambda: "is reached from other machines" in service.workers()[0]["why"])
            os.kill(service.workers()[0]["pid"], signal.SIGKILL)  # nor does one that begins with the file
            service.until(lambda: "cannot serve" in service.told())
            write_text_aside(config, text.replace("[serve]\n", guarded))
            service.until(lambda: service.workers()[0]["deaths"] > 0)
            assert httpx.get(f"{url}/v1/status").status_code == 401
    finally:
        write_text_aside(config, text)


@pytest.mark.parametrize(
    ("more", "options", "told"),
    [
        ("", ["--host", "0.0.0.0"], "set [serve] token"),
        ('[serve]\ntoken = "secret"\n', [], "never the token itself"),
        ('[serve]\ntoken = "env:KAREC_NO_SUCH"\n', [], "KAREC_NO_SUCH"),
        ('[serve]\ntoken = "file:none"\n', [], "cannot be read"),
        ("[serve]\nworkers = 0\n", [], "workers = 0, expected 1 to 256"),
        ("[serve]\nprot = 1\n", [], "did you mean 'port'"),
        ("", ["--port", "70000"], "port = 70000"),
        ("", ["--host", "192.0.2.1", "--insecure"], "can listen on 192.0.2.1"),
    ],
)
def test_a_service_that_cannot_be_had_says_why_before_anything_is_opened(
    tmp_path, capsys, more, options, told
):
    path = tmp_path / "karec.toml"
    path.write_text(f'bundle = "bundles"\n{more}[scenes.home]\n')
    assert main(["serve", "--config", str(path), *options]) == 2
    assert told in capsys.readouterr().err
