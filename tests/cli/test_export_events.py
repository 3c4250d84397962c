"""Tests of ``karec export events``."""

import time

import pytest
from live_bundle import live_config

from karec.cli import main
from karec.config import open_hot_swap
from karec.online.event_files import EventFiles
from karec.online.read_log import EventSource, read_log
from karec.times import DAY_MS


@pytest.fixture
def path(tmp_path):
    """The karec.toml of a service with an event of now and one of three days ago."""
    path = live_config(tmp_path)
    now_ms = time.time_ns() // 1_000_000
    with open_hot_swap(path) as live:
        item_id = int(live.cascades["home"].bundle.snapshot.works.ids[0])
        for moment in (now_ms - 3 * DAY_MS, now_ms):
            live.record([{"event": "block", "item_id": item_id, "time_ms": moment}], now_ms=moment)
    return path


def test_export_events_moves_days_that_get_no_more_events(path, capsys):
    assert main(["export", "events", str(path)]) == 0
    assert f"1 events of 1 days moved to {path.parent / 'events'}" in capsys.readouterr().out
    url = f"sqlite:{path.parent / 'online.db'}"
    assert len(read_log(EventSource(url))[1]) == 1
    assert len(EventFiles(str(path.parent / "events")).days()) == 1
    assert len(read_log(EventSource(url, str(path.parent / "events")))[1]) == 2


def test_export_events_refuses_days_that_may_get_events(path, capsys):
    assert main(["export", "events", str(path), "--before", "2099-01-01"]) == 2
    assert "may still arrive. Export at most the days before" in capsys.readouterr().err


def test_export_events_needs_a_store(path, capsys):
    text = path.read_text()
    path.write_text(text[: text.index("[online]")] + text[text.index("[scenes.home]") :])
    assert main(["export", "events", str(path)]) == 2
    assert "has no table [online]" in capsys.readouterr().err
