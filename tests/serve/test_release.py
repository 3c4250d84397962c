"""This version serves what each release left, and a release can read what this version leaves."""

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from release_folder import GOLDEN, ask, extract_release, post_events
from running_service import RunningService

from karec.logs.read import read_rank_log
from karec.online.read_log import EventSource, read_log

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
