"""Connections are dealt evenly between workers, also after one of them was killed."""

import os
import signal
import socket
from collections import Counter
from contextlib import ExitStack

import httpx
import pytest
from live_bundle import live_config
from running_service import RunningService

from karec.serve.board import READY, STARTING, Board
from karec.serve.dealing import Dealing

WORKERS = 3


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with RunningService(
        live_config(tmp_path_factory.mktemp("dealing")), "--workers", f"{WORKERS}"
    ) as service:
        service.client.close()  # it has a connection too
        with httpx.Client(base_url=service.url, timeout=60) as client:
            service.client = client
            service.until(lambda: all(each["state"] == "ready" for each in service.workers()))
        yield service


def opened(service, n, stack):
    """``n`` clients that keep their connections."""
    clients = [stack.enter_context(httpx.Client(base_url=service.url, timeout=60)) for _ in range(n)]
    return clients, [client.get("/healthz").json()["pid"] for client in clients]


def ready(service):
    with httpx.Client(base_url=service.url, timeout=60) as client:
        workers = client.get("/v1/status").json()["workers"]
    return {each["pid"] for each in workers if each["state"] == "ready"}


def test_each_worker_has_as_many_connections_as_the_others(running):
    with ExitStack() as stack:
        clients, pids = opened(running, 3 * WORKERS, stack)
        assert sorted(Counter(pids).values()) == [3] * WORKERS
        assert [client.get("/healthz").json()["pid"] for client in clients] == pids  # and keeps them


def test_where_some_have_gone_those_who_come_go_to_the_worker_that_has_fewest(running):
    with ExitStack() as stack:
        clients, pids = opened(running, 2 * WORKERS, stack)
        for client, pid in zip(clients, pids, strict=True):
            if pid == pids[0]:
                client.close()
        running.until(lambda: Counter(opened(running, 1, stack)[1])[pids[0]] == 1)


def test_a_worker_in_the_place_of_one_that_was_killed_gets_its_share(running):
    with ExitStack() as stack:
        _, before = opened(running, 2 * WORKERS, stack)
        os.kill(before[0], signal.SIGKILL)
        running.until(lambda: len(ready(running) - {before[0]}) == WORKERS)
        (new,) = ready(running) - set(before)
        _, pids = opened(running, 3, stack)
        assert Counter(pids)[new] >= 2


def test_what_a_dead_worker_did_not_take_goes_to_a_ready_one_and_waits_where_none_is():
    dealing = Dealing(Board(2))
    client, accepted = socket.socketpair()
    socket.send_fds(dealing.inboxes[0][1], [b"."], [accepted.fileno()])
    dealing.given[1, 0] += 1
    dealing.hand_on(0)  # nobody is ready
    dealing.board.put(1, state=READY)
    dealing.hand_on(0)
    assert dealing.given[0, 1] == 1 and dealing.taken[0] == dealing.given[1, 0]
    accepted.close()
    _, (file,), _, _ = socket.recv_fds(dealing.inboxes[1][0], 1, 1)
    with socket.socket(fileno=file) as given, client:
        given.send(b"whole")
        assert client.recv(5) == b"whole"
    dealing.hand_on(0)
    assert dealing.taken[0] == 1


def test_what_is_on_its_way_counts_as_had_and_who_is_not_ready_gets_nothing():
    dealing = Dealing(Board(3))
    dealing.board.put(0, state=READY)
    dealing.board.put(1, state=READY)
    dealing.board.put(2, state=STARTING)
    dealing.open[:] = 4, 2, 0
    assert dealing.fewest(0) == 1
    dealing.given[0, 1] += 2
    assert dealing.fewest(0) == 0
    dealing.taken[1] += 2  # and it has closed them again
    assert dealing.fewest(0) == 1
    assert dealing.fewest(1) == 1
    assert dealing.fewest(2) == 1
    dealing.board.put(0, state=STARTING)
    dealing.board.put(1, state=STARTING)
    assert dealing.fewest(2) == 2
