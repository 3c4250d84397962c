"""Watcher reloads changed versions and retries refused ones after longer and longer pauses."""

import gc
import threading
import weakref
from functools import partial

import pytest
from living_scenes import LONG, TEXT, Gate, make_config, publish_works, version_of

from karec.bundle.watch import Watcher
from karec.config.open import open_hot_swap, read_identity
from karec.pipeline.types import Request


class Polls:
    """A watcher's wait, step by step: ``take(n)`` lets it poll n times and returns afterwards."""

    def __init__(self):
        self.go, self.waiting, self.over, self.seconds = (
            threading.Semaphore(0),
            threading.Semaphore(0),
            False,
            [],
        )

    def __call__(self, seconds):
        self.seconds.append(seconds)
        self.waiting.release()
        assert self.go.acquire(timeout=LONG)
        return self.over

    def take(self, n=1):
        for _ in range(n):
            assert self.waiting.acquire(timeout=LONG)
            self.go.release()
        assert self.waiting.acquire(timeout=LONG)
        self.waiting.release()

    def end(self):
        self.over = True
        self.go.release()


@pytest.fixture
def path(tmp_path, platform):
    return make_config(tmp_path, platform)


@pytest.fixture
def live(path):
    with open_hot_swap(path) as live:
        yield live


@pytest.fixture
def polls(live, path):
    polls = Polls()
    watcher = Watcher(live, partial(read_identity, path), 5.0, polls)
    yield polls
    polls.end()
    watcher.stop()


@pytest.fixture
def publish_next(path, platform):
    return lambda version: publish_works(path.parent / "bundles", platform, version)


def ask(live):
    return version_of(live.run(Request(1, 5)))


def test_watcher_serves_changed_bundle_and_file_after_next_poll(live, polls, path, publish_next):
    polls.take(3)
    assert live.reloads.done == 0
    publish_next(8)
    assert ask(live) == 7
    polls.take()
    assert ask(live) == 8
    path.write_text(TEXT.replace("recall = 8", "recall = 3"))
    polls.take()
    assert len(live.run(Request(1, 5)).candidates) == 3
    polls.take(3)
    assert live.reloads.done == 2 and set(polls.seconds) == {5.0}


def test_watcher_doubles_pause_of_refused_version(live, polls, publish_next, caplog):
    (publish_next(8) / "index.karec").unlink()
    tried = []
    for poll in range(1, 300):
        before = live.reloads.refused
        polls.take()
        if live.reloads.refused > before:
            tried.append(poll)
    assert tried == [1, 3, 7, 15, 31, 63, 127, 191, 255], "after 2, 4, 8 … 64 polls"
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "karec.bundle"]
    assert "v0000000008" in warning and "stays in service" in warning
    assert ask(live) == 7
    (publish_next(9) / "index.karec").unlink()
    polls.take()
    assert live.reloads.refused == len(tried) + 1
    publish_next(10)
    polls.take()
    assert ask(live) == 10


def test_watcher_survives_wrong_karec_toml(live, polls, path):
    path.unlink()
    polls.take()
    path.write_text("= ")
    polls.take()
    assert live.reloads.refused == 2 and ask(live) == 7
    path.write_text(TEXT.replace("recall = 8", "recall = 3"))
    polls.take()
    assert len(live.run(Request(1, 5)).candidates) == 3


def test_watcher_ends_when_hot_swap_is_closed(path, publish_next):
    before = set(threading.enumerate())
    live = open_hot_swap(path, watch_seconds=0.01)
    publish_next(8)
    while ask(live) != 8:
        assert live.reloads.refused == 0
    live.close()
    assert [
        thread.name for thread in set(threading.enumerate()) - before if thread.name == "karec-watch"
    ] == []


def test_watcher_keeps_no_reference_to_its_target(path):
    live, polls = open_hot_swap(path), Polls()
    watcher, gone = Watcher(live, partial(read_identity, path), 5.0, polls), weakref.ref(live)
    polls.take()
    del live
    gc.collect()
    assert gone() is None and len(Gate.alive) == 0
    polls.go.release()
    watcher.stop()
