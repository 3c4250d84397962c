"""The open-loop load script (bench/service/load.py)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from scripted_service import BREAK, ok, scripted_service

BENCH = Path(__file__).parents[2] / "bench" / "service"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import load

    return load


def make_page(request):
    user = request.json["user_id"]
    return {"user_id": user, "items": [{"item_id": 10 * user + at} for at in range(3)]}


def run_load(load, url, **options):
    run = load.Load(load.Plan(url, range(1, 5), **options))
    return run, asyncio.run(run.run())


def test_load_counts_latency_from_the_fixed_time(load):
    def answer_late(request):
        time.sleep(0.2)
        return make_page(request)

    with scripted_service() as service:
        service.set_answers(ok(answer_late), ok(make_page))
        _, report = run_load(load, service.url, rate=100.0, seconds=0.5, deadline_ms=150.0)
        assert report["statuses"] == {"200": len(service.requests)} and len(service.requests) > 20
        assert all(request.json["deadline_ms"] == 150.0 for request in service.requests)
    assert report["p100_ms"] >= 200 and report["goodput_per_s"] < len(service.requests) / 0.5


def test_load_reports_impressions_of_earlier_pages(load):
    def answer(request):
        return {"events": len(request.json["events"])} if request.path == "/v1/events" else make_page(request)

    with scripted_service() as service:
        service.set_answers(ok(answer))
        run, report = run_load(load, service.url, rate=200.0, seconds=0.5, events_fraction=0.3)
        reports = [request.json["events"] for request in service.requests if request.path == "/v1/events"]
    assert reports and all(len({event["user_id"] for event in entry}) == 1 for entry in reports)
    assert report["events_acknowledged"] == sum(map(len, reports)) == len(set(run.acknowledged))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (BREAK, "no answer"),
        (ok({"user_id": 99, "items": []}), "wrong page"),
        (
            ok(
                lambda request: {
                    "user_id": request.json["user_id"],
                    "items": [{"item_id": 1}, {"item_id": 1}],
                }
            ),
            "wrong page",
        ),
        ((503, {"retry-after": "1"}, {}), "503"),
    ],
)
def test_load_counts_failures_by_status(load, answer, status):
    with scripted_service() as service:
        service.set_answers(answer)
        _, report = run_load(load, service.url, rate=50.0, seconds=0.3)
    assert set(report["statuses"]) == {status} and report["goodput_per_s"] == 0


def test_load_gets_pages_from_a_running_service(load, service, snapshot):
    run = load.Load(load.Plan(service.url, snapshot.users.ids.tolist(), 40.0, 1.0, events_fraction=0.3))
    report = asyncio.run(run.run())
    assert set(report["statuses"]) <= {"200", "503"} and report["statuses"]["200"] > 10
    assert report["events_acknowledged"] > 0
