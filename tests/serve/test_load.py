"""The open-loop load script (bench/service/load.py)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from scripted_service import BREAK, good, scripted_service

BENCH = Path(__file__).parents[2] / "bench" / "service"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import load

    return load


def page_of(asked):
    user = asked.json["user_id"]
    return {"user_id": user, "items": [{"item_id": 10 * user + at} for at in range(3)]}


def play(load, url, **options):
    run = load.Load(load.Plan(url, range(1, 5), **options))
    return run, asyncio.run(run.play())


def test_load_counts_latency_from_the_fixed_moment(load):
    def slow(asked):
        time.sleep(0.2)
        return page_of(asked)

    with scripted_service() as service:
        service.answer(good(slow), good(page_of))
        _, report = play(load, service.url, rate=100.0, seconds=0.5, deadline_ms=150.0)
        assert report["statuses"] == {"200": len(service.asked)} and len(service.asked) > 20
        assert all(asked.json["deadline_ms"] == 150.0 for asked in service.asked)
    assert report["p100_ms"] >= 200 and report["goodput_per_s"] < len(service.asked) / 0.5


def test_load_reports_impressions_of_earlier_pages(load):
    def answer(asked):
        return {"events": len(asked.json["events"])} if asked.path == "/v1/events" else page_of(asked)

    with scripted_service() as service:
        service.answer(good(answer))
        run, report = play(load, service.url, rate=200.0, seconds=0.5, events_share=0.3)
        reports = [asked.json["events"] for asked in service.asked if asked.path == "/v1/events"]
    assert reports and all(len({event["user"] for event in each}) == 1 for each in reports)
    assert report["events_acknowledged"] == sum(map(len, reports)) == len(set(run.acknowledged))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (BREAK, "no answer"),
        (good({"user_id": 99, "items": []}), "wrong page"),
        (
            good(lambda asked: {"user_id": asked.json["user_id"], "items": [{"item_id": 1}, {"item_id": 1}]}),
            "wrong page",
        ),
        ((503, {"retry-after": "1"}, {}), "503"),
    ],
)
def test_load_counts_failures_by_status(load, answer, status):
    with scripted_service() as service:
        service.answer(answer)
        _, report = play(load, service.url, rate=50.0, seconds=0.3)
    assert set(report["statuses"]) == {status} and report["goodput_per_s"] == 0


def test_load_gets_pages_from_a_running_service(load, service, snapshot):
    run = load.Load(load.Plan(service.url, snapshot.users.ids.tolist(), 40.0, 1.0, events_share=0.3))
    report = asyncio.run(run.play())
    assert set(report["statuses"]) <= {"200", "503"} and report["statuses"]["200"] > 10
    assert report["events_acknowledged"] > 0
