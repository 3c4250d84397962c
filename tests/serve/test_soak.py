"""Some seconds of the soak (bench/serve_soak.py): swaps, events, and workers that are killed."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from live_bundle import live_config
from small_bundle import write_next_run

from karec.bundle import Bundle
from karec.platform.event_log.events import Events
from karec.platform.event_log.head import Head
from karec.platform.event_log.writer import EventLogWriter
from karec.refresh.publish import publish_bundle

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def soaking(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import serve_soak

    monkeypatch.setattr(serve_soak, "SWAP_S", 2.0)
    monkeypatch.setattr(serve_soak, "KILL_S", 4.0)
    return serve_soak


def test_swaps_events_and_killed_workers_break_connections_at_most_and_lose_no_event(soaking, tmp_path):
    config = live_config(tmp_path)
    bundle = Bundle.open(tmp_path / "bundles", verify=False)
    publish_bundle(write_next_run(bundle, tmp_path / "run-2"), bundle.snapshot, tmp_path / "bundles")
    folder = tmp_path / "soak"
    folder.mkdir()
    halves, wrong = soaking.soak(config, folder, requests=400, rate=25.0)
    assert not wrong
    for half in halves:
        assert half.found["statuses"].get("200", 0) > 0 and half.found["events_taken"] > 0


def test_an_acknowledged_event_that_the_log_lacks_is_found_by_its_id(soaking, tmp_path):
    from service_load_table import lost_of

    source, numbers = 7, np.array([5, 6, 9, 10], np.uint64)
    moment = time.time_ns() // 1_000_000
    events = Events.of("follow", time_ms=moment, source=source, number=numbers, user_id=1, creator_id=2)
    with EventLogWriter(tmp_path / "events", Head(("click",))) as log:
        log.append(events)

    def ids(first, last):
        return [str(UUID(int=source << 64 | each)) for each in (first, last)]

    assert lost_of([ids(5, 6), ids(9, 10)], tmp_path / "events") == (4, 0)
    assert lost_of([ids(5, 9), ids(11, 11)], tmp_path / "events") == (4, 3)
    assert lost_of([[str(UUID(int=each)) for each in (5, 6)]], tmp_path / "events") == (4, 2)


def test_what_does_not_hold_is_told(soaking):
    half = soaking.Half("calm", {"statuses": {"200": 5, "500": 1, "503": 2, "wrong answer": 1}})
    assert half.wrong(soaking.ALWAYS) == ["calm: {'500': 1, 'wrong answer': 1}"]
    assert not soaking.Half("killed", {"statuses": {"connection lost": 3}}).wrong(soaking.WHILE_KILLED)
