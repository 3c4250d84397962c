"""Runs against a server on a real port, whose answers are written down."""

import asyncio
import socket
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scripted_service import BREAK, good, scripted_service

from karec.errors import Unavailable
from karec.load.records import LOST, TIMED_OUT, UNCONNECTED, WRONG
from karec.load.run import Plan, in_loop
from karec.load.target import EVENTS, RECOMMEND, Target
from karec.load.traffic import Asked

USERS = list(range(100, 120))


def feed_of(asked):
    """Three works that no other user has."""
    user = asked.json["user"]
    return {
        "user": user,
        "scene": "home",
        "items": [{"id": 10 * user + i} for i in range(3)],
        "degraded": ["prerank"],
    }


def answered(asked):
    told = (
        {"events": len(asked.json["events"]), "refused": {"no work": 1}, "waiting": None}
        if "event" in asked.path
        else None
    )
    return told or feed_of(asked)


@pytest.fixture
def service():
    with scripted_service() as service:
        service.answer(good(answered))
        yield service


def plan(service, tokens=None, **settings):
    asked = {
        name: settings.pop(name) for name in ("scene", "k", "deadline_ms", "events_share") if name in settings
    }
    given = {"rate": 300, "seconds": 0.2, "connections": 8, **settings}
    return Plan(Target.of(service.url, tokens or {}), Asked(USERS, **asked), **given)


def moments_of(records):
    return [np.array(each) for each in (records.due, records.begun, records.sent, records.done)]


def test_each_request_is_sent_once_and_gets_one_answer(service):
    records = in_loop(plan(service, scene="city", k=3, deadline_ms=50).play())
    n = len(records.due)
    assert n > 40 and Counter(records.status) == {200: n} and records.degraded == {"prerank": n}
    assert len(service.asked) == n and service.connections == 8
    for asked in service.asked:
        assert asked.path == "/v1/recommend" and asked.json["user"] in USERS
        assert {key: asked.json[key] for key in ("scene", "k", "deadline_ms")} == {
            "scene": "city",
            "k": 3,
            "deadline_ms": 50,
        }
    due, begun, sent, done = moments_of(records)
    assert (due <= begun).all() and (begun <= sent).all() and (sent <= done).all()
    assert records.wall_s >= done.max() and records.cpu_s > 0


def test_a_seed_asks_the_same_users_in_the_same_order(service):
    for _ in range(2):
        in_loop(plan(service, connections=1, seed=4).play())
    users = [asked.json["user"] for asked in service.asked]
    assert users[: len(users) // 2] == users[len(users) // 2 :] and len(set(users)) > 5


def test_no_slow_answer_moves_a_later_request(service):
    """The moments are those of the schedule, whatever the service does; who finds no free connection
    waits."""
    slow = in_loop(plan(service, connections=1, rate=3000, seconds=0.1).play())
    due, _, sent, done = moments_of(slow)
    assert slow.due == in_loop(plan(service, connections=8, rate=3000, seconds=0.1).play()).due
    # one connection, one request at a time, in the order of their moments
    assert (sent[1:] >= done[:-1]).all()
    assert (done - due >= done - sent).all() and (due < 0.1).all()


def test_refusals_are_counted_by_their_status(service):
    service.answer((503, {"retry-after": "1"}, {}), (422, {}, {}), good(answered))
    records = in_loop(plan(service).play())
    counts = Counter(records.status)
    assert (counts[503], counts[422], counts[200]) == (1, 1, len(records.due) - 2)


def test_a_broken_connection_loses_its_request_and_no_other(service):
    service.answer(BREAK, good(answered), BREAK, BREAK, good(answered))
    records = in_loop(plan(service).play())
    assert Counter(records.status) == {LOST: 3, 200: len(records.due) - 3}
    assert service.connections == 11


def test_connections_that_the_service_closes_after_an_answer_are_opened_anew(service):
    service.answer((200, {"connection": "close"}, answered))
    records = in_loop(plan(service, connections=2).play())
    assert set(records.status) == {200} and service.connections >= len(records.due)


WRONG_BODIES = [
    b"no json",
    b"\xff\xff",
    b"{}",
    lambda asked: feed_of(asked) | {"user": asked.json["user"] + 1},
    lambda asked: feed_of(asked) | {"items": [{"id": 5}, {"id": 5}]},
]


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_an_answer_to_something_else_is_no_good_answer(service, body):
    service.answer(good(body), good(answered))
    records = in_loop(plan(service, connections=1).play())
    assert Counter(records.status) == {WRONG: 1, 200: len(records.due) - 1}


def test_reports_are_the_exposures_of_feeds_each_told_once(service):
    records = in_loop(plan(service, events_share=0.4, scene="home", connections=1, rate=500).play())
    feeds = [asked for asked in service.asked if asked.path == RECOMMEND]
    reports = [asked.json["events"] for asked in service.asked if asked.path == EVENTS]
    assert 0.2 < len(reports) / len(service.asked) < 0.5 and sum(records.event) == len(reports)
    assert records.refused == {"no work": len(reports)} and records.taken == sum(map(len, reports))
    answers = Counter(asked.json["user"] for asked in feeds)
    for rows in reports:
        (user,) = {row["user"] for row in rows}
        assert [row["work"] for row in rows] == [10 * user + i for i in range(3)]
        assert [(row["kind"], row["scene"], row["position"]) for row in rows] == [
            ("exposure", "home", i) for i in range(3)
        ]
        answers[user] -= 1
    assert min(answers.values()) >= 0
    ids = [row["id"] for rows in reports for row in rows]
    assert len(set(ids)) == len(ids)


def test_tokens_are_those_of_the_path(service):
    in_loop(plan(service, {RECOMMEND: "secret-1", EVENTS: "secret-2"}, events_share=0.5).play())
    told = {(asked.path, asked.headers["authorization"]) for asked in service.asked}
    assert told == {(RECOMMEND, "Bearer secret-1"), (EVENTS, "Bearer secret-2")}
    assert "secret" not in repr(plan(service, {RECOMMEND: "secret-1"}))


def test_silence_ends_with_the_timeout():
    """Of requests that were sent, and of those that still wait for a connection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        target = Plan(Target.of(url, {}), Asked(USERS), 100, 0.1, connections=2, timeout_s=0.1)
        records = in_loop(target.play())
    assert set(records.status) == {TIMED_OUT}
    assert np.isnan(records.done).all() and not np.isnan(records.begun).any()


def test_nobody_there_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        target = Target.of(f"http://127.0.0.1:{taken.getsockname()[1]}", {})
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+: .*[Cc]onnect"):
            in_loop(Plan(target, Asked(USERS), 10, 0.1).play())


def test_a_service_that_dies_meanwhile_fails_the_rest_at_once(service):
    """Its connections end, none can be opened: what is due after that waits for no timeout."""

    async def dying():
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        open_now = []

        async def one(reader, writer):
            open_now.append(writer)
            await reader.readuntil(b"\r\n\r\n")
            server.close()
            for each in open_now:
                each.transport.abort()

        server.close()
        server = await asyncio.start_server(one, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        there = replace(plan(service, timeout_s=3600.0), target=Target("127.0.0.1", port))
        return await there.play()

    records = in_loop(dying())
    counts = Counter(records.status)
    assert counts[LOST] >= 1 and counts[UNCONNECTED] >= 1 and set(counts) == {LOST, UNCONNECTED}


def test_progress_goes_to_the_end(service):
    seen = []
    records = in_loop(plan(service).play(lambda done, total, what: seen.append((done, total, what))))
    assert seen[-1] == (len(records.due), len(records.due), "300 requests a second")
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "", "ftp://there", "http://", "http:///v1"])
def test_an_address_is_wanted(url):
    with pytest.raises(ValueError, match="is no address"):
        Target.of(url, {})


def test_an_address_may_be_of_ipv6_and_below_a_path():
    head = Target.of("http://[::1]:8000/karec/", {}).head(RECOMMEND)
    assert head.startswith(b"POST /karec/v1/recommend HTTP/1.1\r\nHost: [::1]:8000\r\n")
    assert Target.of("https://there", {}).port == 443
