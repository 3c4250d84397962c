"""``karec erase``: after it, no file of a project has the id of the user, except as a keyed hash."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from live_bundle import ask, live_config, named
from nine_scenes import nine_scenes_config
from own_logs import movie_ratings

from karec.bundle import Bundle
from karec.bundle.in_use import lock_exclusively
from karec.cli import main
from karec.config import open_hot_swap
from karec.config.erase import erase_ids
from karec.erasure import Tombstones
from karec.index import IdMap
from karec.logs.read import read_rank_log
from karec.online.export import LEASE
from karec.online.store.records import keys_of
from karec.online.store.sqlite import SqliteStore
from karec.pipeline.types import Request
from karec.times import DAY_MS

USER, OTHER = "stranger-4711", "stranger-4712"
LOG = """
side_effects = [{ use = "rank_log", folder = "rank_log", flush_seconds = 0.05 }]

[scenes.city]"""


def write_config(folder):
    """A karec.toml of users with names; its scene home writes a rank log."""
    path = live_config(folder, ids=named(folder), more="retention_days = 300\nexported_days = 400")
    path.write_text(path.read_text().replace("\n[scenes.city]", LOG))
    return path


def serve_and_record(path, users=(USER, OTHER)):
    """Pages and events of the users: some of today, some of 301 days ago, which are exported."""
    now_ms = time.time_ns() // 1_000_000
    with open_hot_swap(path) as swap:
        for user in users:
            shown = [item.item_id for item in ask(swap, user, k=5).items]
            row = {"event": "impression", "user_id": user, "scene": "home"}
            rows = [row | {"item_id": item_id} for item_id in shown]
            rows += [{"event": "search", "user_id": user, "text": f"I am {user}"}]
            assert swap.record([row | {"labels": ["click"]} for row in rows[:-1]] + rows[-1:]).events == 6
            old_ms = now_ms - 301 * DAY_MS
            assert swap.record(rows, now_ms=old_ms).events == 6
    store = SqliteStore(path.parent / "online.db")
    store.back_up()
    store.close()
    os.utime(path.parent / "online.db.backup", (time.time() - 60,) * 2)
    assert main(["export", "events", str(path)]) == 0


def number_of(path, user):
    return int(IdMap.open(path.parent / "bundles/current/ids/users.karec").numbers([user])[0])


def places_with(path, user):
    """Returns the files and folders with the id or its number: in bytes, cells of Parquet, rows of SQLite."""
    number = number_of(path, user)
    texts = [user.encode(), str(number).encode()]
    forms = [number.to_bytes(8, "little"), number.to_bytes(8, "big"), *texts, keys_of(b"", [number])[0]]
    places = set()
    for file in path.parent.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        if file.suffix == ".parquet":
            data += repr(pq.read_table(file).to_pylist()).encode()
        if data.startswith(b"SQLite format 3"):
            data += "\n".join(sqlite3.connect(f"file:{file}?mode=ro", uri=True).iterdump()).encode()
        if any(form in data for form in forms):
            places.add(file.relative_to(path.parent).parts[0])
    return places


@pytest.fixture
def path(tmp_path):
    path = write_config(tmp_path)
    serve_and_record(path)
    return path


def erase(path, *words):
    return main(["erase", str(path), *words])


def found(path, user):
    """Erases the user. Returns the places that had them."""
    result = erase_ids(path, {"user": [user]}, time.time_ns() // 1_000_000)
    return {place.place for place in result if place.rows}


def test_no_file_has_an_erased_user_except_the_tombstone(path, capsys):
    everywhere = {"online.db", "online.db.backup", "events", "rank_log"}
    assert places_with(path, USER) == everywhere
    assert erase(path, "--user", USER) == 0
    assert places_with(path, USER) == set() and places_with(path, OTHER) == everywhere
    _, line = (path.parent / "erased.txt").read_text().splitlines()
    assert len(bytes.fromhex(line.split()[0])) == 32
    assert (path.parent / "erased.txt").stat().st_mode & 0o777 == 0o600
    assert USER not in capsys.readouterr().out
    assert found(path, USER) == set()


def test_user_of_the_bundle_is_due_there_and_starts_new(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # so that a long path is not wrapped
    assert erase(path, "--user", "u1") == 0
    out = capsys.readouterr().out
    assert "v0000000001" in out and "due" in out
    with open_hot_swap(path) as swap:
        number = number_of(path, "u1")
        assert not len(swap.cascades["home"].online.view(number)[0].list_of("history"))
        row = {"event": "impression", "user_id": "u1", "item_id": "w100", "labels": ["click"]}
        assert swap.record([row]).events == 1
        assert len(swap.cascades["home"].online.view(number)[0].list_of("history")) == 1


def test_next_training_leaves_an_erased_user_out(tmp_path):
    folder, out = movie_ratings(tmp_path / "movies"), tmp_path / "run"
    assert main(["data", "init", str(folder)]) == 0
    train = ["train", str(folder), "--out", str(out), "--quick"]
    assert main(train) == 0
    config = out / "karec.toml"
    assert {"rank log run/rank_log", "models run", "models bundles/v0000000001"} <= found(config, "7")
    shutil.rmtree(out / "run")
    assert main(train) == 0
    assert Bundle.open(out / "bundles").snapshot.users.row(7) < 0
    assert found(config, "7") == {"models bundles/v0000000001"}


def test_late_events_of_an_erased_user_are_refused_and_new_ones_stored(path, tmp_path, capsys):
    erase(path, "--user", USER)
    now_ms = time.time_ns() // 1_000_000
    row = {"event": "search", "user_id": USER, "text": "x"}
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row | {"time_ms": now_ms - age}) + "\n" for age in (DAY_MS, -1000)))
    assert main(["ingest", str(path), str(rows)]) == 2
    captured = capsys.readouterr()
    assert "events stored: 1" in captured.out and "user_id was erased after this event: 1" in captured.err
    with open_hot_swap(path) as swap:
        assert swap.record([row], now_ms=now_ms - DAY_MS).refused == {
            "user_id was erased after this event": 1
        }
        assert swap.record([row]).events == 1


def test_late_events_are_refused_by_kind_of_id(path):
    erase(path, "--creator", "u3", "--item", "w101")
    now_ms = time.time_ns() // 1_000_000
    refused = {
        "creator_id": {"event": "follow", "user_id": OTHER, "creator_id": "u3"},
        "item_id": {"event": "impression", "user_id": OTHER, "item_id": "w101"},
    }
    stored = [{"event": "impression", "user_id": "u3", "item_id": "w100"}]
    with open_hot_swap(path) as swap:
        result = swap.record([*refused.values(), *stored], now_ms=now_ms - DAY_MS)
    assert result.events == 1
    assert result.refused == {f"{key} was erased after this event": 1 for key in refused}


def test_erasure_while_a_service_runs_takes_effect_at_once(path):
    number = number_of(path, USER)
    with open_hot_swap(path) as swap:
        cascade = swap.cascades["home"]
        assert len(cascade.online.view(number)[0].list_of("history"))
        assert erase(path, "--user", USER) == 0
        assert not len(cascade.online.view(number)[0].list_of("history"))
        first = str(ask(swap, OTHER, k=3).items[0].item_id)
        assert erase(path, "--item", first) == 0
        swap.record([])  # polls the store
        assert first not in [item.item_id for item in ask(swap, OTHER)]
    assert places_with(path, USER) == set()


def test_erased_song_leaves_logs_store_and_pages(tmp_path, capsys):
    path = nine_scenes_config(tmp_path)
    log = '[scenes.song_request]\nside_effects = [{ use = "rank_log", folder = "log" }]\n'
    path.write_text(path.read_text().replace("[scenes.song_request]\n", log))
    with open_hot_swap(path, None) as swap:
        song = swap.run(Request(3, k=4, scene="song_request")).items[0].item_id
        row = {"event": "impression", "user_id": 3, "item_id": song, "scene": "song_request"}
        assert swap.record([row | {"item_type": "song"}]).events == 1
    assert song in read_rank_log(tmp_path / "log", ()).item_id
    assert erase(path, "--item", str(song), "--item-type", "song") == 0
    out = capsys.readouterr().out
    assert all(place in out for place in ("rank log log", "online store", "models bundles"))
    assert song not in read_rank_log(tmp_path / "log", ()).item_id
    with open_hot_swap(path, None) as swap:
        page = swap.run(Request(5, k=1000, scene="song_request"))
        assert len(page) and song not in [item.item_id for item in page]
        late = row | {"item_type": "song", "time_ms": time.time_ns() // 1_000_000 - 10_000}
        assert swap.record([late]).refused == {"item_id was erased after this event": 1}
    assert erase(path, "--item", "1", "--item-type", "sogn") == 2
    assert "--item-type is 'sogn', expected one of" in capsys.readouterr().err


def test_erasure_during_a_training_is_refused_and_writes_nothing(path, capsys):
    with lock_exclusively(path.parent, wait=False):
        assert erase(path, "--user", USER) == 2
    assert "a training or another erasure runs" in capsys.readouterr().err
    assert not (path.parent / "erased.txt").exists() and "online.db" in places_with(path, USER)


@pytest.mark.parametrize("has_days", [True, False])
def test_erasure_stops_while_an_export_runs(path, capsys, has_days):
    """Also while the first day is written: it could get rows that are erased."""
    if not has_days:
        shutil.rmtree(path.parent / "events")
    store = SqliteStore(path.parent / "online.db")
    assert store.acquire_lease(LEASE, "export", 60)  # seconds
    assert erase(path, "--user", USER) == 2 and "another export" in capsys.readouterr().err
    assert ("events" in places_with(path, USER)) == has_days
    store.close()


def test_killed_erasure_is_completed_by_a_second_run(path):
    for name in ("karec.config.erase.renew_lease", "karec.logs.erase.file_aside"):
        module, _, function = name.rpartition(".")
        script = (
            "import os\n"
            "from karec.cli import main\n"
            f"import {module} as module\n"
            f"module.{function} = lambda *arguments: os._exit(9)\n"
            f"main(['erase', {str(path)!r}, '--user', {USER!r}])\n"
        )
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
        assert "rank_log" in places_with(path, USER)
        with sqlite3.connect(path.parent / "online.db") as connection:
            connection.execute("DELETE FROM leases")  # as after a minute
    assert erase(path, "--user", USER) == 0
    assert places_with(path, USER) == set()


def test_erasure_of_an_unknown_id_finds_nothing(path, capsys):
    before = {file: file.read_bytes() for file in path.parent.rglob("*.parquet")}
    assert erase(path, "--user", "nobody", "--item", "nothing", "--creator", "c") == 0
    assert {file: file.read_bytes() for file in path.parent.rglob("*.parquet")} == before
    assert places_with(path, OTHER) == {"online.db", "online.db.backup", "events", "rank_log"}


@pytest.mark.parametrize("text", ["-1", "u1", str(2**63)])
def test_what_is_not_an_integer_id_is_refused_and_nothing_is_erased(tmp_path, capsys, text):
    """Events without a user have the number −1: their erasure would delete all blocks and uploads."""
    path = live_config(tmp_path)
    with open_hot_swap(path) as swap:
        swap.record([{"event": "block", "creator_id": 3}])
    for kind in ("user", "item", "creator"):
        assert erase(path, f"--{kind}", text) == 2
        assert f"--{kind} is {text}, expected integers" in capsys.readouterr().err
    assert not (tmp_path / "erased.txt").exists()
    with sqlite3.connect(tmp_path / "online.db") as store:
        assert store.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_erasure_in_a_project_without_a_store_creates_none(tmp_path):
    path = write_config(tmp_path)
    files = {*tmp_path.rglob("*")}
    assert erase(path, "--user", USER) == 0
    assert {file.name for file in {*tmp_path.rglob("*")} - files} == {"erased.txt"}


def test_old_exported_days_are_deleted_by_the_next_export(path):
    assert main(["export", "events", str(path)]) == 0 and len([*(path.parent / "events").iterdir()]) == 1
    path.write_text(path.read_text().replace("exported_days = 400", "exported_days = 300"))
    assert main(["export", "events", str(path)]) == 0
    assert not [*(path.parent / "events").iterdir()]


def test_erasure_without_an_id_is_refused(path, capsys):
    assert erase(path) == 2 and "name an id to erase" in capsys.readouterr().err


def test_damaged_tombstones_are_an_error_that_names_the_file(path, capsys):
    erase(path, "--user", USER)
    file = path.parent / "erased.txt"
    file.write_text(file.read_text().replace("key ", ""))
    assert erase(path, "--user", OTHER) == 2
    assert "erased.txt is damaged" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_tombstones_belong_to_the_owner_of_the_project(tmp_path):
    os.chown(tmp_path, 10001, 10002)
    Tombstones(tmp_path).add("user", ["a"], 1000)
    status = (tmp_path / "erased.txt").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (10001, 10002, 0o600)


def test_tombstones_depend_on_key_kind_and_id(tmp_path):
    tombstones = Tombstones(tmp_path)
    assert tombstones.erased_ms("user", ["a"]) == [0]
    tombstones.add("user", ["a", 7], 1000)
    assert tombstones.erased_ms("user", ["a", "b", 7, "7", np.int64(7)]) == [1000, 0, 1000, 1000, 1000]
    assert tombstones.erased_ms("item", ["a"]) == [0]
    other_process = Tombstones(tmp_path)
    other_process.add("item", ["a"], 2000)
    assert tombstones.erased_ms("item", ["a"]) == [2000] and tombstones.erased_ms("user", ["a"]) == [1000]
