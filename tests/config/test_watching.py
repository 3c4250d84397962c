"""A watcher reloads what is named anew, and leaves what was refused alone for longer and longer."""

import gc
import threading
import weakref
from functools import partial

import pytest
from living_scenes import LONG, TEXT, Gate, begun_in, publish_works, version_of

from karec.bundle.watch import Watcher
from karec.config.open import open_hot_swap, read_identity
from karec.pipeline.types import Request


class Looks:
    """A watcher's wait, step by step: ``take(n)`` lets it look n times, and returns when it has."""

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
    return begun_in(tmp_path, platform)


@pytest.fixture
def live(path):
    with open_hot_swap(path) as live:
        yield live


@pytest.fixture
def looks(live, path):
    looks = Looks()
    watcher = Watcher(live, partial(read_identity, path), 5.0, looks)
    yield looks
    looks.end()
    watcher.stop()


@pytest.fixture
def publish_next(path, platform):
    return lambda version: publish_works(path.parent / "bundles", platform, version)


def ask(live):
    return version_of(live.run(Request(1, 5)))


def test_a_new_version_and_a_new_karec_toml_serve_after_the_next_look(live, looks, path, publish_next):
    looks.take(3)
    assert live.reloads.done == 0
    publish_next(8)
    assert ask(live) == 7
    looks.take()
    assert ask(live) == 8
    path.write_text(TEXT.replace("recall = 8", "recall = 3"))
    looks.take()
    assert len(live.run(Request(1, 5)).candidates) == 3
    looks.take(3)
    assert live.reloads.done == 2 and set(looks.seconds) == {5.0}


def test_what_was_refused_is_tried_again_ever_later_and_another_version_at_once(
    live, looks, publish_next, caplog
):
    (publish_next(8) / "index.karec").unlink()
    tried = []
    for look in range(1, 300):
        before = live.reloads.refused
        looks.take()
        if live.reloads.refused > before:
            tried.append(look)
    assert tried == [1, 3, 7, 15, 31, 63, 127, 191, 255], "after 2, 4, 8 … 64 looks"
    told = [record.getMessage() for record in caplog.records if record.name == "karec.live"]
    assert len(told) == len(tried) and "v0000000008" in told[0] and "stays in service" in told[0]
    assert ask(live) == 7
    (publish_next(9) / "index.karec").unlink()
    looks.take()
    assert live.reloads.refused == len(tried) + 1
    publish_next(10)
    looks.take()
    assert ask(live) == 10


def test_a_karec_toml_that_is_wrong_for_a_while_ends_no_watcher(live, looks, path):
    path.unlink()
    looks.take()
    path.write_text("= ")
    looks.take()
    assert live.reloads.refused == 2 and ask(live) == 7
    path.write_text(TEXT.replace("recall = 8", "recall = 3"))
    looks.take()
    assert len(live.run(Request(1, 5)).candidates) == 3


def test_a_watcher_by_the_clock_reloads_and_ends_with_its_cascade(path, publish_next):
    before = set(threading.enumerate())
    live = open_hot_swap(path, watch_seconds=0.01)
    publish_next(8)
    while ask(live) != 8:
        assert live.reloads.refused == 0
    live.close()
    assert [
        thread.name for thread in set(threading.enumerate()) - before if thread.name == "karec-watch"
    ] == []


def test_a_watcher_keeps_nothing_that_nobody_else_keeps(path):
    live, looks = open_hot_swap(path), Looks()
    watcher, gone = Watcher(live, partial(read_identity, path), 5.0, looks), weakref.ref(live)
    looks.take()
    del live
    gc.collect()
    assert gone() is None and len(Gate.alive) == 0
    looks.go.release()
    watcher.stop()
