"""Tests of ``karec ingest --from-backup`` and ``--recompute-state``."""

import numpy as np
import pytest
from live_bundle import live_config

from karec.cli import main
from karec.config import open_hot_swap
from karec.errors import Unavailable
from karec.online.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path):
    """A karec.toml whose store has an impression and a block, and a backup."""
    path = live_config(tmp_path)
    with open_hot_swap(path) as live:
        now = live.cascades["home"].bundle.snapshot.time_ms + 1
        rows = [
            {"event": "impression", "user_id": 1, "item_id": 100, "labels": ["click"], "scene": "home"},
            {"event": "block", "item_id": 107},
        ]
        assert live.record(rows, now_ms=now).events == 2
    store = SqliteStore(tmp_path / "online.db")
    store.back_up()
    store.close()
    return path


def assert_state_is_complete(path):
    with open_hot_swap(path) as live:
        cascade = live.cascades["home"]
        assert 100 in cascade.online.view(1)[0].user.lists["history"].values
        assert cascade.bundle.index.scores(np.zeros(cascade.bundle.index.dim), ids=[107]).tolist() == [
            -np.inf
        ]


def test_lost_file_comes_back_from_its_backup(path, capsys):
    for file in path.parent.glob("online.db*"):
        if not file.name.endswith(".backup"):
            file.unlink()
    with pytest.raises(Unavailable, match="Run karec ingest CONFIG --from-backup"):
        open_hot_swap(path)
    assert main(["ingest", str(path), "--from-backup"]) == 0
    assert "restart the services" in capsys.readouterr().out
    assert_state_is_complete(path)
    assert main(["ingest", str(path), "--from-backup"]) == 2
    assert "move it away" in capsys.readouterr().err


def test_lost_state_is_computed_from_the_events(path):
    store = SqliteStore(path.parent / "online.db")
    with store._file.connection() as connection:
        connection.execute("DELETE FROM state")
    store.close()
    assert main(["ingest", str(path), "--recompute-state"]) == 0
    assert_state_is_complete(path)


def test_restore_without_a_file_of_its_own_is_refused(tmp_path, capsys):
    for url in ("valkey://127.0.0.1:1/0", "sqlite::memory:"):
        path = live_config(tmp_path / url[:6], url=url)
        assert main(["ingest", str(path), "--from-backup"]) == 2
        assert str(path) in capsys.readouterr().err
