"""Observers run after the answer: the caller never waits, what does not fit is counted, no error gets through."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from karec.observer_queue import ObserverQueue
from karec.observer_thread import ObserverThread
from karec.stage import Observer
from karec.types import Candidates, Recommendation, Request, Trace

LONG = 30  # seconds until a test that would wait for ever gives up


def answer(at, works=3):
    """(request, recommendation) with ``works`` scored works in each of two stages."""
    request = Request(1, request_id=f"r{at}", time_ms=1000 + at)
    scored = {"prerank": Candidates.of(np.arange(works)), "rank": Candidates.of(np.arange(works))}
    return request, Recommendation(request, Candidates.empty(), Trace(), scored)


class Watcher(Observer):
    """Remembers what it was told, and on which thread; waits at the gate, if that is shut."""

    name = "watcher"

    def __init__(self, due_in=None):
        self.calls, self.threads, self.due_in = [], set(), due_in
        self.gate, self.at_gate, self.flushed = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()

    def observe(self, request, recommendation):
        self.at_gate.set()
        assert self.gate.wait(LONG)
        self.called(request.request_id)
        self.stages = tuple(recommendation.scored)

    def due(self):
        return None if self.due_in is None else time.monotonic() + self.due_in

    def flush(self):
        self.called("flush")
        self.flushed.set()

    def close(self):
        self.called("close")

    def called(self, what):
        self.calls.append(what)
        self.threads.add(threading.get_ident())


@pytest.fixture
def shut():
    """(observer, queue of two requests or ten works): the observer is busy with the request r0 until its gate opens."""
    observer = Watcher()
    observer.gate.clear()
    queue = ObserverQueue(observer, max_requests=3, max_works=30)
    queue.offer(*answer(0))
    assert observer.at_gate.wait(LONG)
    yield observer, queue
    observer.gate.set()
    queue.close()


def adds_up(counts):
    return counts.seen == counts.done + counts.dropped + counts.failed + counts.pending


def test_answers_are_observed_in_order_on_one_thread_that_is_not_the_caller_s():
    observer = Watcher()
    queue = ObserverQueue(observer)
    for at in range(20):
        queue.offer(*answer(at))
    counts = queue.close()
    assert observer.calls == [*(f"r{at}" for at in range(20)), "close"]
    assert len(observer.threads) == 1 and threading.get_ident() not in observer.threads
    assert (counts.seen, counts.done, counts.pending) == (20, 20, 0)
    assert counts.reasons == {}


def test_offering_does_not_wait_for_the_observer(shut):
    observer, queue = shut
    queue.offer(*answer(1))
    assert observer.calls == []
    counts = queue.counts()
    assert (counts.seen, counts.done, counts.pending) == (2, 0, 2)


def test_requests_over_the_bound_are_dropped_and_counted(shut):
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


def test_works_over_the_bound_are_dropped_and_counted(shut):
    _, queue = shut
    queue.offer(*answer(1, works=13))  # 26 in two stages, 6 are pending
    queue.offer(*answer(2, works=12))
    counts = queue.counts()
    assert (counts.pending, counts.dropped) == (2, 1)
    assert counts.reasons == {"30 works are pending": 1}


def test_one_answer_larger_than_the_bound_fits_when_nothing_is_pending():
    observer = Watcher()
    queue = ObserverQueue(observer, max_works=10)
    queue.offer(*answer(0, works=100))
    assert queue.close().done == 1


def test_room_comes_back_as_answers_are_observed():
    queue = ObserverQueue(Watcher(), max_requests=1, max_works=6)
    for at in range(5):
        queue.offer(*answer(at))
        queue.flush()
    assert queue.close().done == 5


def test_an_observer_gets_the_stages_that_it_watches_and_no_more():
    observer = Watcher()
    observer.watches = ("rank",)
    queue = ObserverQueue(observer, max_works=8)
    queue.offer(*answer(0))
    queue.offer(*answer(1))  # three works each, not six
    assert queue.close().done == 2
    assert observer.stages == ("rank",)


def test_requests_that_an_observer_does_not_choose_are_not_seen():
    observer = Watcher()
    observer.chooses = lambda request: request.request_id == "r1"
    queue = ObserverQueue(observer)
    for at in range(3):
        queue.offer(*answer(at))
    assert queue.close().seen == 1
    assert observer.calls == ["r1", "close"]


ERRORS = (OSError(28, "No space left on device"), ValueError("wrong"), SystemExit(3))
RAISED = [(where, error) for where in ("observe", "flush", "close", "due") for error in ERRORS]


@pytest.mark.parametrize(("where", "error"), [*RAISED, *(("chooses", error) for error in ERRORS[:2])])
def test_what_an_observer_raises_is_counted_and_logged_once(caplog, where, error):
    observer = Watcher()

    def fails(*_):
        raise error

    setattr(observer, where, fails)
    queue = ObserverQueue(observer)
    with caplog.at_level(logging.WARNING, "karec.observers"):
        for at in range(3):
            queue.offer(*answer(at))
            queue.flush()
        counts = queue.close()
    kind = type(error).__name__ + (": No space left on device" if isinstance(error, OSError) else "")
    assert counts.reasons == {kind: 1 if where == "close" else 3}
    assert counts.failed == (3 if where in ("observe", "chooses") else 0)
    assert adds_up(counts) and counts.seen == 3 and counts.pending == 0
    first, *others = [record.getMessage() for record in caplog.records]
    assert "more of this kind is only counted" in first
    assert all("3 seen" in other for other in others) and len(others) == 1


def test_a_stage_that_is_not_there_is_counted():
    observer = Watcher()
    observer.watches = ("nowhere",)
    queue = ObserverQueue(observer)
    queue.offer(*answer(0))
    counts = queue.close()
    assert (counts.failed, counts.reasons) == (1, {"KeyError": 1})


def test_a_host_s_logging_that_raises_does_not_reach_the_caller(shut):
    def refuse(record):
        raise RuntimeError("no logging today")

    logger = logging.getLogger("karec.observers")
    logger.addFilter(refuse)
    try:
        for at in range(5):
            shut[1].offer(*answer(at))
    finally:
        logger.removeFilter(refuse)
    assert shut[1].counts().dropped == 3


def test_what_is_held_back_is_flushed_when_it_is_due():
    observer = Watcher(due_in=0.01)
    queue = ObserverQueue(observer)
    queue.offer(*answer(0))
    assert observer.flushed.wait(LONG)
    queue.close()
    assert observer.calls == ["r0", "flush", "close"]


def test_what_is_due_is_flushed_while_answers_keep_coming():
    observer = Watcher(due_in=-1)
    queue = ObserverQueue(observer)
    observer.gate.clear()
    for at in range(3):
        queue.offer(*answer(at))
    observer.gate.set()
    queue.close()
    assert observer.calls == ["r0", "flush", "r1", "flush", "r2", "flush", "close"]


def test_flush_waits_for_all_that_was_offered_before():
    observer = Watcher()
    queue = ObserverQueue(observer)
    queue.flush()  # nothing was offered
    queue.offer(*answer(0))
    queue.flush()
    assert observer.calls == ["r0", "flush"]
    queue.close()
    queue.flush()
    assert observer.calls == ["r0", "flush", "close"]


def test_nothing_of_an_answer_is_held_once_it_was_observed():
    queue = ObserverQueue(Watcher())
    request, recommendation = answer(0)
    held = weakref.ref(recommendation)
    queue.offer(request, recommendation)
    del request, recommendation
    queue.flush()
    assert held() is None
    queue.close()


def test_what_is_offered_after_the_end_is_dropped():
    observer = Watcher()
    queue = ObserverQueue(observer)
    queue.offer(*answer(0))
    queue.close()
    queue.offer(*answer(1))
    counts = queue.close()
    assert (counts.seen, counts.done, counts.dropped, counts.reasons) == (2, 1, 1, {"closed": 1})
    assert observer.calls == ["r0", "close"]


def test_what_is_pending_when_the_time_is_over_is_dropped_and_the_observer_closed():
    observer = Watcher()
    observer.gate.clear()
    thread = ObserverThread(observer, max_requests=10, max_works=100)
    for at in range(3):
        thread.put(*answer(at))
    assert observer.at_gate.wait(LONG)
    thread.stop(drop_from=time.monotonic())
    observer.gate.set()
    assert thread.join(LONG)
    assert observer.calls == ["r0", "close"]
    counts = thread.counts()
    assert (counts.done, counts.dropped, counts.pending) == (1, 2, 0)
    assert counts.reasons == {"interpreter exit": 2}


def test_a_queue_that_was_never_offered_anything_has_no_thread():
    before = threading.active_count()
    observer = Watcher()
    queue = ObserverQueue(observer)
    assert threading.active_count() == before
    queue.close()
    assert observer.calls == ["close"]


def test_a_queue_that_nobody_holds_ends_by_itself(shut):
    observer = Watcher()
    queue = ObserverQueue(observer)
    queue.offer(*answer(0))
    queue.flush()
    (thread,) = (each for each in threading.enumerate() if each.ident in observer.threads)
    del queue
    gc.collect()
    thread.join(LONG)
    assert not thread.is_alive()
    assert observer.calls[-1] == "close"


def test_counts_add_up_whatever_threads_do():
    observer = Watcher()
    queue = ObserverQueue(observer, max_requests=3)

    def offer(at):
        queue.offer(*answer(at))
        return queue.counts()

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(offer, range(400)))
    counts = queue.close()
    assert all(adds_up(each) and each.pending <= 3 for each in [*seen, counts])
    assert (counts.seen, counts.pending) == (400, 0)
    assert len(observer.calls) == counts.done + 1


def test_bounds_are_positive():
    for bounds in ({"max_requests": 0}, {"max_works": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            ObserverQueue(Watcher(), **bounds)


PROGRAM = """
import os, sys, threading
sys.path.insert(0, {folder!r})
from test_observer_queue import Watcher, answer
from karec import observer_thread
from karec.observer_queue import ObserverQueue

class Tells(Watcher):
    def called(self, what):
        os.write(1, f"{{what}}\\n".encode())

observer = Tells()
queue = ObserverQueue(observer)
"""


def run(program):
    """(what the observer was told, stderr) of a process that runs ``program`` with ``observer`` and ``queue``."""
    whole = PROGRAM.format(folder=os.path.dirname(__file__)) + program
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1], done.stderr


def test_a_process_that_ends_observes_what_is_pending():
    told, said = run("for at in range(50): queue.offer(*answer(at))")
    assert told == [*(f"r{at}" for at in range(50)), "close"]
    assert said == ""


def test_a_process_that_ends_waits_for_a_while_only():
    told, said = run("""
observer_thread.EXIT_SECONDS = 0.05
observer.gate.clear()
for at in range(3): queue.offer(*answer(at))
""")
    assert told == []
    assert "did not end in time: watcher: 3 seen, 0 done, 0 dropped, 0 failed, 3 pending" in said


def test_a_child_of_a_fork_has_a_queue_and_a_thread_of_its_own():
    told, said = run("""
observer.gate.clear()
for at in range(3): queue.offer(*answer(at))      # pending in the parent as it forks
observer.at_gate.wait()
child = os.fork()
observer.gate.set()
if child == 0:
    assert queue.counts().seen == 0
    for at in range(10, 13): queue.offer(*answer(at))
    counts = queue.close()
    assert (counts.seen, counts.done) == (3, 3), counts
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
queue.offer(*answer(3))
counts = queue.close()
assert (counts.seen, counts.done) == (4, 4), counts
""")
    assert sorted(told) == sorted(["r0", "r1", "r2", "r3", "close", "r10", "r11", "r12", "close"])
    assert said == "" or "DeprecationWarning" in said  # from Python 3.12 on a fork beside threads warns


def test_forks_beside_requests_never_hang():
    told, _ = run("""
observer.called = lambda what: None
stop = threading.Event()
def serve():
    at = 0
    while not stop.is_set():
        queue.offer(*answer(at)); queue.counts(); at += 1
threads = [threading.Thread(target=serve) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        queue.offer(*answer(0))
        os._exit(0 if queue.close().done == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
""")
    assert told == []
