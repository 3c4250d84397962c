"""A ledger that processes and their children share: no feed is lost or counted twice, and a damaged file is
named."""

import json
import os
import re
import threading

import pytest
from steered_requests import fifty_works, show, steering

from karec.exposure.controller import PUBLISH_FEEDS


@pytest.fixture
def index():
    return fifty_works()


def test_processes_share_one_ledger_through_its_file(index, tmp_path):
    """Two of them in turns come to the prices of one that saw every feed; one that begins later goes on from
    there."""
    shared = [steering(index, config_folder=tmp_path, state="exposure.json") for _ in range(2)]
    alone = steering(index)
    for i in range(8):
        show(shared[i % 2], index, [1, 3, i])
        shared[i % 2].settle()  # else once a second
        show(alone, index, [1, 3, i])
    assert shared[1].snapshot()["targets"] == alone.snapshot()["targets"]
    later = steering(index, config_folder=tmp_path, state="exposure.json")
    assert later.snapshot()["targets"] == alone.snapshot()["targets"] and later.newest.groups.tolist() != [
        0,
        0,
    ]


def test_a_shared_ledger_is_read_and_written_once_a_second(index, tmp_path, monkeypatch):
    """However many feeds there are: the file holds all that the scene remembers."""
    now = 1_000.0
    monkeypatch.setattr("karec.exposure.controller.time.monotonic", lambda: now)
    of = steering(index, config_folder=tmp_path, state="exposure.json")
    show(of, index, [1, 3], times=5 * PUBLISH_FEEDS)
    assert (of.newest.version, of.held) == (1, 4 * PUBLISH_FEEDS)
    now += 1.0
    show(of, index, [1, 3], times=1)
    assert (of.newest.version, of.held, of.snapshot()["feeds"]) == (2, 0, 5 * PUBLISH_FEEDS + 1)


def test_writers_at_once_lose_no_feed(index, tmp_path):
    shared = [steering(index, config_folder=tmp_path, state="exposure.json") for _ in range(4)]

    def write(of):
        for _ in range(5):
            show(of, index, [1, 3])
            of.settle()

    threads = [threading.Thread(target=write, args=(of,)) for of in shared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads((tmp_path / "exposure.json").read_text())["feeds"] == 4 * 5 * PUBLISH_FEEDS


def test_a_child_of_fork_counts_on_without_what_its_parent_holds_back(index):
    of = steering(index)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            show(of, index, [1, 3], times=PUBLISH_FEEDS + 1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                before = of.snapshot()["feeds"]
                show(of, index, [1, 3], times=3)
                of.settle()
                os._exit(0 if of.snapshot()["feeds"] == before + 3 and of.held == 0 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        writer.join()


def test_a_state_file_that_cannot_be_written_holds_feeds_back_and_loses_none(index, tmp_path):
    folder = tmp_path / "later"
    of = steering(index, config_folder=folder, state="exposure.json")
    with pytest.raises(FileNotFoundError):
        show(of, index, [1, 3])
    assert of.held == PUBLISH_FEEDS
    folder.mkdir()
    of.settle()
    assert of.held == 0 and of.snapshot()["feeds"] == PUBLISH_FEEDS


def test_a_damaged_state_file_is_refused_by_name(index, tmp_path):
    path = tmp_path / "exposure.json"
    for text in ("[]", "{", '{"format": 1}'):
        path.write_text(text)
        with pytest.raises(
            ValueError, match=re.escape(str(path)) + ".*; remove it to begin with prices of 0$"
        ):
            steering(index, config_folder=tmp_path, state="exposure.json")
