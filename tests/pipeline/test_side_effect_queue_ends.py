"""End of a queue: close, garbage collection, process exit, fork. Lost pages are counted."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import observer_watcher
from observer_watcher import LONG, Watcher, answer

from karec.pipeline.side_effects import SideEffectQueue, Worker


def test_queue_releases_a_page_after_its_run():
    queue = SideEffectQueue(Watcher())
    request, recommendation = answer(0)
    held = weakref.ref(recommendation)
    queue.offer(request, recommendation)
    del request, recommendation
    queue.flush()
    assert held() is None
    queue.close()


def test_offer_after_close_is_dropped():
    observer = Watcher()
    queue = SideEffectQueue(observer)
    queue.offer(*answer(0))
    queue.close()
    queue.offer(*answer(1))
    counts = queue.close()
    assert (counts.seen, counts.done, counts.dropped, counts.reasons) == (2, 1, 1, {"closed": 1})
    assert observer.calls == ["r0", "close"]


def test_pending_pages_are_dropped_after_the_exit_time():
    observer = Watcher()
    observer.gate.clear()
    thread = Worker(observer, max_requests=10, max_items=100)
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


def test_queue_without_offers_has_no_thread():
    before = threading.active_count()
    observer = Watcher()
    queue = SideEffectQueue(observer)
    assert threading.active_count() == before
    queue.close()
    assert observer.calls == ["close"]


def test_garbage_collected_queue_closes_its_side_effect():
    observer = Watcher()
    queue = SideEffectQueue(observer)
    queue.offer(*answer(0))
    queue.flush()
    (thread,) = (entry for entry in threading.enumerate() if entry.ident in observer.threads)
    del queue
    gc.collect()
    thread.join(LONG)
    assert not thread.is_alive()
    assert observer.calls[-1] == "close"


PROGRAM = """
import os, sys, threading
sys.path.insert(0, {folder!r})
from observer_watcher import Watcher, answer
from karec.pipeline import side_effects
from karec.pipeline.side_effects import SideEffectQueue

class Tells(Watcher):
    def called(self, what):
        os.write(1, f"{{what}}\\n".encode())

observer = Tells()
queue = SideEffectQueue(observer)
"""


def run(program):
    """Returns (calls of the side effect, stderr) of a process that runs ``program`` with ``observer`` and
    ``queue``."""
    whole = PROGRAM.format(folder=os.path.dirname(observer_watcher.__file__)) + program
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1], done.stderr


def test_process_exit_runs_pending_pages():
    calls, stderr = run("for at in range(50): queue.offer(*answer(at))")
    assert calls == [*(f"r{at}" for at in range(50)), "close"]
    assert stderr == ""


def test_process_exit_waits_for_a_limited_time():
    calls, stderr = run("""
side_effects.EXIT_SECONDS = 0.05
observer.gate.clear()
for at in range(3): queue.offer(*answer(at))
""")
    assert calls == []
    assert "did not end in time: watcher: 3 seen, 0 done, 0 dropped, 0 failed, 3 pending" in stderr


def test_forked_child_has_its_own_queue_and_thread():
    calls, stderr = run("""
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
    assert sorted(calls) == sorted(["r0", "r1", "r2", "r3", "close", "r10", "r11", "r12", "close"])
    assert stderr == "" or "DeprecationWarning" in stderr  # from Python 3.12 on a fork beside threads warns


def test_forks_during_requests_do_not_hang():
    calls, _ = run("""
observer.run = lambda request, answer: None  # a lock of its own could be held while the process forks
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
    assert calls == []
