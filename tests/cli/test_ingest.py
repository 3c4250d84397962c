"""``karec ingest``: events of an operator, and the restoration of a store."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from live_bundle import live_config, named, without_online

from karec.bundle import Bundle
from karec.cli import main
from karec.config import open_hot_swap
from karec.errors import Unavailable
from karec.online.store.sqlite import SqliteStore


@pytest.fixture(scope="module")
def shared_config(tmp_path_factory):
    return live_config(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def write_rows(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def config_with_backup(tmp_path):
    """A karec.toml whose store has an impression and a block, and a backup."""
    path = live_config(tmp_path)
    with open_hot_swap(path) as swap:
        now_ms = swap.cascades["home"].bundle.snapshot.time_ms + 1
        rows = [
            {"event": "impression", "user_id": 1, "item_id": 100, "labels": ["click"], "scene": "home"},
            {"event": "block", "item_id": 107},
        ]
        assert swap.record(rows, now_ms=now_ms).events == 2
    store = SqliteStore(tmp_path / "online.db")
    store.back_up()
    store.close()
    return path


def scores_of(swap, item_ids):
    index = swap.cascades["home"].bundle.index
    return index.scores(np.zeros(index.dim), ids=item_ids).tolist()


def assert_state_is_complete(path):
    with open_hot_swap(path) as swap:
        history = swap.cascades["home"].online.view(1)[0].user.lists["history"]
        assert 100 in history.values and scores_of(swap, [107]) == [-np.inf]


def test_ingested_events_act_in_a_running_service(shared_config, write_rows, capsys, monkeypatch):
    with open_hot_swap(shared_config) as swap:
        first, second = swap.cascades["home"].bundle.snapshot.works.ids[:2].tolist()
        rows = write_rows({"event": "adjust", "item_id": first, "offset": 2.5})
        assert main(["ingest", str(shared_config), rows]) == 0
        assert "events stored: 1" in capsys.readouterr().out
        block = json.dumps({"event": "block", "item_id": second})
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{block}\n"))
        assert main(["ingest", str(shared_config)]) == 0
        swap.record([])  # polls the store
        assert scores_of(swap, [first, second]) == [2.5, -np.inf]


def test_ingest_counts_wrong_rows_by_reason_and_stores_the_others(shared_config, write_rows, capsys):
    rows = write_rows({"event": "block", "item_id": 105}, "{", {"event": "ban"}, {"event": "block"}, "[1]")
    assert main(["ingest", str(shared_config), rows]) == 2
    captured = capsys.readouterr()
    assert "events stored: 1" in captured.out
    assert captured.err.startswith("karec ingest: ") and captured.err.count("\n") == 1
    for reason in ("a line is not JSON", "unknown event", "item_id is missing", "a row is not a table"):
        assert f"{reason}: 1" in captured.err


def test_ingest_takes_ids_of_the_platform(tmp_path, write_rows):
    path = live_config(tmp_path / "named", ids=named(tmp_path / "named"))
    assert main(["ingest", str(path), write_rows({"event": "block", "item_id": "w100"})]) == 0
    bundle = Bundle.open(path.parent / "bundles")
    with open_hot_swap(path) as swap:
        assert scores_of(swap, [int(bundle.naming.items.numbers(["w100"])[0])]) == [-np.inf]


def test_ingest_from_backup_restores_a_lost_file_and_no_other(config_with_backup, capsys):
    for file in config_with_backup.parent.glob("online.db*"):
        if not file.name.endswith(".backup"):
            file.unlink()
    with pytest.raises(Unavailable, match="Run karec ingest CONFIG --from-backup"):
        open_hot_swap(config_with_backup)
    assert main(["ingest", str(config_with_backup), "--from-backup"]) == 0
    assert "restart the services" in capsys.readouterr().out
    assert_state_is_complete(config_with_backup)
    assert main(["ingest", str(config_with_backup), "--from-backup"]) == 2
    assert "move it away" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [("--recompute-state", "--from-backup"), ("--from-backup", "online.db.backup is missing")],
)
def test_ingest_restores_nothing_without_a_file_or_backup(tmp_path, capsys, option, message):
    path = live_config(tmp_path)
    assert main(["ingest", str(path), option]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("online.db*"))


def test_ingest_needs_rows_if_standard_input_is_closed(shared_config, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    assert main(["ingest", str(shared_config)]) == 2
    assert "give ROWS" in capsys.readouterr().err


def test_ingest_recomputes_lost_state_from_the_events(config_with_backup):
    store = SqliteStore(config_with_backup.parent / "online.db")
    with store._file.connection() as connection:
        connection.execute("DELETE FROM state")
    store.close()
    assert main(["ingest", str(config_with_backup), "--recompute-state"]) == 0
    assert_state_is_complete(config_with_backup)


@pytest.mark.parametrize("url", ["valkey://127.0.0.1:1/0", "sqlite::memory:"])
def test_ingest_from_backup_needs_a_sqlite_file(tmp_path, capsys, url):
    path = live_config(tmp_path, url=url)
    assert main(["ingest", str(path), "--from-backup"]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("command", [["ingest"], ["schedule"], ["export", "events"]])
def test_commands_on_the_online_store_need_the_table_online(tmp_path, capsys, command):
    path = without_online(live_config(tmp_path))
    assert main([*command, str(path)]) == 2
    assert "has no table [online]" in capsys.readouterr().err


def test_page_and_batch_of_recommend_leave_out_a_blocked_item(tmp_path, capsys):
    path, users, out = live_config(tmp_path), tmp_path / "users.csv", tmp_path / "pages.parquet"
    users.write_text("user_id\n1\n")

    def page():
        capsys.readouterr()
        assert main(["recommend", str(path), "--user", "1", "--k", "20", "--json"]) == 0
        return [item["item_id"] for item in json.loads(capsys.readouterr().out)["items"]]

    blocked = page()[0]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"event": "block", "item_id": blocked}))
    assert main(["ingest", str(path), str(rows)]) == 0
    assert page() and blocked not in page()
    assert main(["recommend", str(path), "--batch", str(users), "--k", "20", "--out", str(out)]) == 0
    items = pq.read_table(out)["item_id"].to_pylist()
    assert items and blocked not in items
