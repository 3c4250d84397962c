"""Side effects run after the page, in order, on their own thread. No caller waits; dropped pages are
counted."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from observer_watcher import LONG, Watcher, adds_up, answer, shut_queue

from karec.pipeline.side_effects import SideEffectQueue


@pytest.fixture
def shut():
    """A busy side effect and its queue (fixtures/observer_watcher.py)."""
    with shut_queue() as busy:
        yield busy


def test_side_effect_runs_in_order_on_one_other_thread():
    observer = Watcher()
    queue = SideEffectQueue(observer)
    for at in range(20):
        queue.offer(*answer(at))
    counts = queue.close()
    assert observer.calls == [*(f"r{at}" for at in range(20)), "close"]
    assert len(observer.threads) == 1 and threading.get_ident() not in observer.threads
    assert (counts.seen, counts.done, counts.pending) == (20, 20, 0)
    assert counts.reasons == {}


def test_offer_does_not_wait_for_the_side_effect(shut):
    observer, queue = shut
    queue.offer(*answer(1))
    assert observer.calls == []
    counts = queue.counts()
    assert (counts.seen, counts.done, counts.pending) == (2, 0, 2)


def test_requests_over_max_requests_are_dropped_and_counted(shut):
    observer, queue = shut
    for at in range(1, 6):
        queue.offer(*answer(at))
    counts = queue.counts()
    assert (counts.seen, counts.pending, counts.dropped) == (6, 3, 3)
    assert counts.reasons == {"3 requests are pending": 3}
    observer.gate.set()
    counts = queue.close()
    assert observer.calls == ["r0", "r1", "r2", "close"]
    assert (counts.done, counts.dropped, counts.pending) == (3, 3, 0)


def test_items_over_max_items_are_dropped_and_counted(shut):
    _, queue = shut
    queue.offer(*answer(1, works=13))  # 26 in two stages, 6 are pending
    queue.offer(*answer(2, works=12))
    counts = queue.counts()
    assert (counts.pending, counts.dropped) == (2, 1)
    assert counts.reasons == {"30 items are pending": 1}


def test_one_page_above_max_items_fits_if_none_is_pending():
    observer = Watcher()
    queue = SideEffectQueue(observer, max_items=10)
    queue.offer(*answer(0, works=100))
    assert queue.close().done == 1


def test_queue_accepts_pages_again_after_each_run():
    queue = SideEffectQueue(Watcher(), max_requests=1, max_items=6)
    for at in range(5):
        queue.offer(*answer(at))
        queue.flush()
    assert queue.close().done == 5


def test_side_effect_gets_only_its_stages():
    observer = Watcher()
    observer.stages = ("rank",)
    queue = SideEffectQueue(observer, max_items=8)
    queue.offer(*answer(0))
    queue.offer(*answer(1))  # three works each, not six
    assert queue.close().done == 2
    assert observer.stages == ("rank",)


def test_disabled_requests_are_not_seen():
    observer = Watcher()
    observer.is_enabled = lambda request: request.request_id == "r1"
    queue = SideEffectQueue(observer)
    for at in range(3):
        queue.offer(*answer(at))
    assert queue.close().seen == 1
    assert observer.calls == ["r1", "close"]


def test_held_data_is_flushed_when_due():
    observer = Watcher(due_in=0.01)
    queue = SideEffectQueue(observer)
    queue.offer(*answer(0))
    assert observer.flushed.wait(LONG)
    queue.close()
    assert observer.calls == ["r0", "flush", "close"]


def test_due_flush_runs_between_pages():
    observer = Watcher(due_in=-1)
    queue = SideEffectQueue(observer)
    observer.gate.clear()
    for at in range(3):
        queue.offer(*answer(at))
    observer.gate.set()
    queue.close()
    assert observer.calls == ["r0", "flush", "r1", "flush", "r2", "flush", "close"]


def test_flush_waits_for_all_earlier_offers():
    observer = Watcher()
    queue = SideEffectQueue(observer)
    queue.flush()  # nothing was offered
    queue.offer(*answer(0))
    queue.flush()
    assert observer.calls == ["r0", "flush"]
    queue.close()
    queue.flush()
    assert observer.calls == ["r0", "flush", "close"]


def test_counts_add_up_with_many_threads():
    observer = Watcher()
    queue = SideEffectQueue(observer, max_requests=3)

    def offer(at):
        queue.offer(*answer(at))
        return queue.counts()

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(offer, range(400)))
    counts = queue.close()
    assert all(adds_up(entry) and entry.pending <= 3 for entry in [*seen, counts])
    assert (counts.seen, counts.pending) == (400, 0)
    assert len(observer.calls) == counts.done + 1


def test_bounds_below_1_are_refused():
    for bounds in ({"max_requests": 0}, {"max_items": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            SideEffectQueue(Watcher(), **bounds)
