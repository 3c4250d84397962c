"""At most n requests run at once. The others wait in the order of arrival and hold no resources."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from four_works import IDS, VECTORS, four_works

from karec.errors import Unavailable
from karec.pipeline import deadline
from karec.pipeline.cascade import Cascade
from karec.pipeline.deadline import RequestSlots, request_slots, usable_cores
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.selectors.top_k import TopK
from karec.steps.sources.merge import Merge

SECONDS = 60  # until a test that hangs is a failure


class Gated(Source):
    """A source that reports the start of each request, and returns when ``go_on`` is released."""

    name, quota = "gated", 10

    def __init__(self):
        self.begun, self.go_on = SimpleQueue(), threading.Semaphore(0)

    def recall(self, request):
        self.begun.put(request.user_id)
        assert self.go_on.acquire(timeout=SECONDS)
        return Candidates.from_ids(np.array([7, 40]))


class Calls(Source):
    """A source that calls a function during a request."""

    name, quota = "calls", 10

    def __init__(self, call):
        self.call = call

    def recall(self, request):
        self.call()
        return Candidates.from_ids(np.array([7, 40]))


def cascade(source, threads, index=None):
    merger = Merge([10], 10)
    return Cascade(
        "home", (), Recall((source,), merger), (Stage("rank", (TopK(),)),), index=index, threads=threads
    )


class Requests:
    """Requests of users 0, 1, … to a gated cascade, each on its own thread, in the order of arrival."""

    def __init__(self, threads, index=None):
        self.source = Gated()
        self.cascade = cascade(self.source, threads, index)
        self.slots = request_slots(threads)
        self.running, self.answers = [], []

    def come(self, n):
        for _ in range(n):
            user = len(self.running)
            thread = threading.Thread(
                target=lambda user=user: self.answers.append(self.cascade.run(Request(user)))
            )
            thread.start()
            self.running.append(thread)
            if user < self.slots.n:
                assert self.source.begun.get(timeout=SECONDS) == user
            else:
                wait_until(lambda waiting=user + 1 - self.slots.n: self.slots.n_waiting == waiting)

    def end(self):
        for thread in self.running:
            thread.join(SECONDS)
            assert not thread.is_alive()


def wait_until(holds):
    tick = threading.Event()
    for _ in range(SECONDS * 1000):
        if holds():
            return
        tick.wait(0.001)
    raise AssertionError("never came")


@pytest.mark.parametrize("threads", [31, 33])
def test_at_most_n_requests_run_at_once(threads):
    requests = Requests(threads)
    requests.come(threads + 16)
    assert requests.slots.n_waiting == 16
    assert requests.source.begun.empty()
    for _ in range(16):
        requests.source.go_on.release()
        requests.source.begun.get(timeout=SECONDS)
        assert requests.source.begun.empty()  # one ends, one begins
    requests.source.go_on.release(threads)
    requests.end()
    assert len(requests.answers) == threads + 16
    assert requests.slots.n_waiting == 0


def test_requests_start_in_the_order_of_arrival():
    requests = Requests(threads=1)
    requests.come(9)
    requests.source.go_on.release(9)
    requests.end()
    assert [requests.source.begun.get(timeout=SECONDS) for _ in range(8)] == list(range(1, 9))


def test_waiting_request_holds_no_index_generation():
    index = four_works()
    requests = Requests(1, index)
    requests.come(2)
    before = index.generation
    index.upsert(IDS[:1], VECTORS[:1])
    requests.source.go_on.release(2)
    requests.end()
    assert [feed.versions["index_generation"] for feed in requests.answers] == [before, before + 1]


def test_request_inside_a_request_shares_its_slot():
    inner = [cascade(Calls(lambda: None), threads) for threads in (1, 2)]
    outer = cascade(Calls(lambda: [entry.run(Request(2)) for entry in inner]), threads=1)
    threads = [threading.Thread(target=outer.run, args=(Request(1),), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_failed_request_releases_its_slot():
    def fails():
        raise Unavailable("down")

    failing = cascade(Calls(fails), threads=1)
    for _ in range(3):
        with pytest.raises(Unavailable, match="down"):
            failing.run(Request(1))
    free_for_one(request_slots(1))


def free_for_one(slots):
    """Checks that another thread gets a slot at once."""
    thread = threading.Thread(target=take_once, args=(slots,), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive() and slots.n_waiting == 0


def take_once(slots):
    with slots.hold():
        pass


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("given", [False, True], ids=["while it waits", "as it gets its slot"])
def test_signal_during_a_wait_loses_no_slot(given):
    slots, held, give = RequestSlots(1), threading.Event(), threading.Event()

    def hold():
        with slots.hold():
            held.set()
            assert give.wait(SECONDS)

    def interrupt(*_):
        if given:
            give.set()
            holder.join(SECONDS)  # the slot is the main thread's now, which does not run yet
        raise Interrupted

    def signal_the_waiting():
        wait_until(lambda: slots.n_waiting == 1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    holder = threading.Thread(target=hold)
    sender = threading.Thread(target=signal_the_waiting)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        holder.start()
        assert held.wait(SECONDS)
        sender.start()
        with pytest.raises(Interrupted):
            take_once(slots)
    finally:
        signal.signal(signal.SIGUSR1, before)
        give.set()
    holder.join(SECONDS)
    sender.join(SECONDS)
    free_for_one(slots)


FORKS = """
import os, threading
from karec.pipeline.deadline import RequestSlots

slots, held, give = RequestSlots(1), threading.Event(), threading.Event()

def hold():
    with slots.hold():
        held.set()
        give.wait()

def waits():
    def take():
        with slots.hold(): pass
    other = threading.Thread(target=take)
    other.start()
    while not slots.n_waiting: threading.Event().wait(0.001)
    return other

holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()                   # while another thread has the slot
if child == 0:
    with slots.hold(): other = waits()
    other.join()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
give.set()
holder.join()
with slots.hold():
    child = os.fork()               # while this one has it
    if child == 0: other = waits()
if child == 0:
    other.join()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_has_all_slots_except_its_own():
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=SECONDS)


def test_default_number_of_slots_is_the_usable_cores():
    assert request_slots(None).n == usable_cores()
    assert request_slots(None) is request_slots(usable_cores())


def test_usable_cores_follow_affinity_and_cgroup_quotas(tmp_path, monkeypatch):
    group = Path("/proc/self/cgroup").read_text().strip().rpartition("0::")[2].strip("/")
    folder = tmp_path / group
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(deadline, "CGROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == 8
    for quota, cores in (("250000 100000", 3), ("max 100000", 8), ("10000 100000", 1)):
        (folder / "cpu.max").write_text(quota)
        assert usable_cores() == cores


@pytest.mark.parametrize("threads", [0, -2, 1.5])
def test_cascade_refuses_less_than_one_slot(threads):
    with pytest.raises(ValueError, match=f"threads is {threads}, expected a whole number, at least 1"):
        cascade(Gated(), threads)
