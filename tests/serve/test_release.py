"""This version serves what each release left, and a release can read what this version leaves."""

import json
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pyarrow.parquet as pq
import pytest
from haproxy import MISSING, PROGRAM, haproxy
from release_folder import FOLLOWED, GOLDEN, USER, ask, extract_release, post_events
from running_service import LONG_S, RunningService, with_serve_table
from small_bundle import write_next_run

from karec.bundle import Bundle, make_current
from karec.logs.read import read_rank_log
from karec.online.read_log import EventSource, read_log
from karec.refresh.publish_run import publish

VERSIONS = [
    path.name.removeprefix("release-").removesuffix(".tar.gz") for path in GOLDEN.glob("release-*.tar.gz")
]
assert VERSIONS


@pytest.fixture(scope="module", params=VERSIONS)
def upgraded(request, tmp_path_factory):
    """(folder as the release left it, the same folder after this version served it)."""
    released, folder = (tmp_path_factory.mktemp(name) for name in ("released", "upgraded"))
    extract_release(request.param, released)
    path = extract_release(request.param, folder)
    golden = json.loads((released / "page.json").read_text())
    with RunningService(path) as service:
        assert ask(service, golden["time_ms"]) == golden["items"]
        post_events(service, golden["items"][0])
        assert ask(service, golden["time_ms"]) != golden["items"]
        assert service.end() == 0
    return released, folder


def stored_events(folder: Path) -> Counter[tuple[int, int]]:
    _, events = read_log(EventSource(f"sqlite:{folder / 'online.db'}"))
    return Counter(zip(events.source.tolist(), events.number.tolist(), strict=True))


def test_upgrade_keeps_each_event_once_and_adds_new_ones(upgraded):
    before, after = map(stored_events, upgraded)
    assert before and before < after and set(after.values()) == {1}


def test_upgrade_keeps_the_rank_log(upgraded):
    before, after = (read_rank_log(folder / "rank_log", ()) for folder in upgraded)
    assert 0 < len(before) < len(after) and set(before.request_id) < set(after.request_id)


def store_layout(folder: Path) -> tuple[object, ...]:
    """Version, tables with their columns, and document formats of a store."""
    with sqlite3.connect(folder / "online.db") as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        (contents,) = connection.execute("SELECT value FROM documents WHERE name = 'contents'").fetchone()
        pragmas = [
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "application_id")
        ]
    keys = {key: type(value).__name__ for key, value in json.loads(contents).items()}
    return tables, pragmas, keys, json.loads(contents)["format"]


def test_rollback_finds_the_store_in_its_own_layout(upgraded):
    released, after = map(store_layout, upgraded)
    assert after == released


def test_rollback_finds_the_rank_log_in_its_own_layout(upgraded):
    schemas = [
        [pq.read_schema(part) for part in sorted((folder / "rank_log").iterdir())] for folder in upgraded
    ]
    released = schemas[0][0]
    assert all(schema.equals(released) for schema in schemas[1])
    assert {schema.metadata[b"karec.rank_log"] for schema in schemas[1]} == {
        released.metadata[b"karec.rank_log"]
    }


@contextmanager
def traffic(url):
    """Asks for pages and posts follows of users other than USER until the block ends, without retries.

    Yields the list of (status of the page, its bundle, status of the events).
    """
    answers, is_over = [], threading.Event()

    def call(user_id):
        follow = {"event": "follow", "user_id": user_id, "creator_id": FOLLOWED}
        with httpx.Client(base_url=url, timeout=LONG_S) as client:
            while not is_over.is_set():
                page = client.post("/v1/recommend", json={"user_id": user_id, "k": 5})
                bundle = page.json().get("versions", {}).get("bundle")
                events = client.post("/v1/events", json={"events": [follow | {"event_id": str(uuid4())}]})
                answers.append((page.status_code, bundle, events.status_code))

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call, user_id) for user_id in range(USER + 2, USER + 5)]
        try:
            yield answers
        finally:
            is_over.set()
        for future in calls:
            future.result()


@pytest.mark.long
@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
@pytest.mark.parametrize("version", VERSIONS)
def test_upgrade_and_rollback_behind_a_proxy_fail_no_request(version, tmp_path):
    """An old service, which stays with the released bundle, and a new one share folder and store."""
    path = extract_release(version, tmp_path)
    golden = json.loads((tmp_path / "page.json").read_text())
    released, n_before = Bundle.open(tmp_path / "bundles"), len(stored_events(tmp_path))
    old_path = tmp_path / "old.toml"
    old_path.write_text(path.read_text())
    with_serve_table(old_path, "max_queue_ms = 60_000\nwatch_seconds = 86_400")
    with_serve_table(path, "max_queue_ms = 60_000\nwatch_seconds = 0.1")
    with RunningService(old_path) as old:
        run = write_next_run(released, tmp_path / "run", released.model_version + 1)
        newer = publish(run, released.snapshot, released.path.parent)
        with RunningService(path) as new, haproxy(old.url[7:], new.url[7:]) as proxy:
            assert ask(old, golden["time_ms"]) == golden["items"]
            with traffic(proxy.url) as answers:
                both = {released.path.name, newer.name}
                old.wait_until(lambda: {bundle for _, bundle, _ in answers} == both)
                assert old.end() == 0
                n = len(answers)
                new.wait_until(lambda: len(answers) >= n + 30)
                assert ask(new, golden["time_ms"]) != golden["items"]
                make_current(released.path.parent, released.model_version)
                new.wait_until(lambda: answers[-1][1] == released.path.name)
            assert ask(new, golden["time_ms"]) == golden["items"]
    assert {(page, events) for page, _, events in answers} == {(200, 200)}
    stored = stored_events(tmp_path)
    assert len(stored) == n_before + len(answers) and set(stored.values()) == {1}
