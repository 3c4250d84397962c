"""A short soak (bench/service/soak.py): hot swaps, events, and killed workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from live_bundle import live_config
from small_bundle import write_next_run

from karec.bundle import Bundle
from karec.refresh.publish_run import publish

BENCH = Path(__file__).parents[2] / "bench" / "service"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import soak

    monkeypatch.setattr(soak, "SWAP_S", 2.0)
    monkeypatch.setattr(soak, "KILL_S", 4.0)
    return soak


@pytest.mark.long
def test_swaps_and_killed_workers_lose_no_event(soak, tmp_path):
    config = live_config(tmp_path)
    bundle = Bundle.open(tmp_path / "bundles", verify=False)
    publish(write_next_run(bundle, tmp_path / "run-2"), bundle.snapshot, tmp_path / "bundles")
    folder = tmp_path / "soak"
    folder.mkdir()
    assert soak.soak(config, folder, n_requests=400, rate=25.0) == []


def test_soak_reports_lost_events_and_unexpected_statuses(soak):
    load = soak.Load(soak.Plan("http://127.0.0.1", [1], 1.0, 1.0))
    load.acknowledged = ["a", "b"]
    load.statuses = Counter({"200": 5, "500": 1, "503": 2})
    failures = soak.find_failures(load, soak.EXPECTED, Counter({"a": 1}))
    assert failures == ["statuses {'500': 1}", "1 acknowledged events are lost"]
    assert soak.find_failures(load, {"200", "500", "503"}, Counter({"a": 1, "b": 1})) == []
