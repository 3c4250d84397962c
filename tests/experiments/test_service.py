"""Arms in a service of two workers: the same in every worker and process; a changed salt is refused."""

import httpx
import pytest
from running_service import RunningService

import karec
from karec.pipeline.types import Request


@pytest.fixture
def service(write_experiments):
    path = write_experiments(more="\n[serve]\nworkers = 2\nwatch_seconds = 0.2\n")
    with RunningService(path) as running:
        yield running


def ask(service, **fields):
    return httpx.post(f"{service.url}/v1/recommend", json=fields, timeout=60)  # a new connection: any worker


def test_arms_are_equal_in_all_workers_and_in_this_process(service):
    service.wait_until(lambda: len(service.ready_pids()) == 2)
    with karec.open(service.config) as cascade:
        for user in range(12):
            session = f"s{user % 3}"
            arms = [ask(service, user_id=user, session_id=session).json()["arms"] for _ in range(3)]
            assert arms == [dict(cascade.run(Request(user, session_id=session)).arms)] * 3
    assert ask(service, user_id=1, arms={"fusion": "likes"}).json()["arms"] == {"fusion": "likes"}
    refused = ask(service, user_id=1, arms={"fusion": 1})
    assert refused.status_code == 422 and "arms" in refused.json()["field"]


def test_service_refuses_a_changed_salt_and_keeps_its_arms(service, write_experiments):
    before = [service.ask(user)["arms"] for user in range(12)]
    serve = service.config.read_text()
    write_experiments({'salt = "ranking-2026"': 'salt = "b"'})
    service.config.write_text(serve)
    service.wait_until(lambda: service.read_log().count("salt is 'b', expected 'ranking-2026'") >= 2)
    assert [service.ask(user)["arms"] for user in range(12)] == before
    write_experiments({'salt = "ranking-2026"': 'salt = "b"', "coverage = 0.8": "version = 2"})
    service.config.write_text(serve)
    service.wait_until(lambda: [service.ask(user)["arms"] for user in range(12)] != before)
