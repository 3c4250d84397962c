"""A short soak (bench/service/soak.py): hot swaps, events, and workers that are killed."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from event_platform import HEAD, platform
from live_bundle import live_config
from replayed_log import write_store
from small_bundle import write_next_run

from karec.aggregates.events import Events
from karec.bundle import Bundle
from karec.refresh.publish_run import publish

BENCH = Path(__file__).parents[2] / "bench" / "service"


@pytest.fixture
def soaking(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import soak

    monkeypatch.setattr(soak, "SWAP_S", 2.0)
    monkeypatch.setattr(soak, "KILL_S", 4.0)
    return soak


def load_with(soaking, acknowledged=(), statuses=()):
    plan = soaking.Plan("http://127.0.0.1", [1], 1.0, 1.0)
    return soaking.Load(plan, acknowledged=list(acknowledged), statuses=Counter(dict(statuses)))


@pytest.mark.long
def test_swaps_and_killed_workers_lose_no_event(soaking, tmp_path):
    config = live_config(tmp_path)
    bundle = Bundle.open(tmp_path / "bundles", verify=False)
    publish(write_next_run(bundle, tmp_path / "run-2"), bundle.snapshot, tmp_path / "bundles")
    folder = tmp_path / "soak"
    folder.mkdir()
    halves, failures = soaking.soak(config, folder, requests=400, rate=25.0)
    assert not failures
    for half in halves:
        assert half.load.statuses["200"] > 0 and half.load.acknowledged


def test_missing_events_counts_acknowledged_ids_not_in_log(soaking, tmp_path):
    moment, numbers = time.time_ns() // 1_000_000, np.array([5, 6, 9, 10], np.uint64)
    events = Events.from_columns("follow", time_ms=moment, source=7, number=numbers, user_id=1, creator_id=2)
    write_store(tmp_path / "online.db", platform(), HEAD, events)

    def missing(source, numbers):
        ids = [str(UUID(int=source << 64 | number)) for number in numbers]
        return soaking.missing_events([load_with(soaking, ids)], tmp_path / "online.db")

    assert missing(7, [5, 6, 9, 10]) == 0
    assert missing(7, [5, 7, 8, 11]) == 3
    assert missing(8, [5, 6]) == 2


def test_soak_reports_unexpected_statuses(soaking):
    half = soaking.Half("calm", load_with(soaking, statuses={"200": 5, "500": 1, "503": 2}.items()))
    assert half.unexpected(soaking.ALWAYS) == ["calm: {'500': 1}"]
    half = soaking.Half("killed", load_with(soaking, statuses={"no answer": 3}.items()))
    assert half.unexpected(soaking.WHILE_KILLED) == []
