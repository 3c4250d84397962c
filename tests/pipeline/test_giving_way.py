"""Work beside requests lets them go first, leaves Python's lock to them soon, and the process as it was."""

import sys
from threading import Event, Thread

import numpy as np
import pytest

from karec._giving_way import TURN_S, GivingWay, Running, give_way

LONG_S = 600.0


@pytest.fixture(params=[0.005, 0.0001])
def before(request):
    kept = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield sys.getswitchinterval()
    sys.setswitchinterval(kept)


def test_threads_take_turns_no_longer_than_told_until_the_last_block_ends(before):
    inside, leave = Event(), Event()

    def other():
        with GivingWay(Running()):
            inside.set()
            leave.wait()

    thread = Thread(target=other)
    thread.start()
    inside.wait()
    with GivingWay(Running()):
        assert sys.getswitchinterval() == pytest.approx(min(before, TURN_S), abs=1e-6)
    assert sys.getswitchinterval() == pytest.approx(min(before, TURN_S), abs=1e-6)
    leave.set()
    thread.join()
    assert sys.getswitchinterval() == before


def test_what_fails_within_leaves_the_process_as_it_was(before):
    running = Running()
    with pytest.raises(ValueError, match="refused"), GivingWay(running, LONG_S):
        raise ValueError("refused")
    assert sys.getswitchinterval() == before
    with running:
        give_way()  # the block is over: nobody waits for the request


def test_work_that_gives_way_goes_on_when_the_last_request_has_ended():
    running, done, waits = Running(), [], Event()
    first, second = Event(), Event()

    class Waited(Running):
        def wait(self, seconds):
            waits.set()
            running.wait(seconds)

    def request(end):
        with running:
            end.wait()
            done.append("request")

    def work():
        with GivingWay(Waited(), LONG_S):
            give_way()
            done.append("work")

    requests = [Thread(target=request, args=(end,)) for end in (first, second)]
    for thread in requests:
        thread.start()
    while len(running._requests) < len(requests):
        pass
    working = Thread(target=work)
    working.start()
    waits.wait()
    first.set()
    requests[0].join()
    second.set()
    working.join()
    requests[1].join()
    assert done == ["request", "request", "work"]
    assert not running._waiting


def test_where_requests_never_cease_work_goes_on_beside_them_after_its_share_of_waiting():
    running = Running()
    with running, GivingWay(running, 0.002):
        for _ in range(3):
            give_way()
    with running, GivingWay(running, 0.0):
        give_way()


def test_a_request_that_fails_is_waited_for_no_longer():
    running = Running()
    with pytest.raises(ValueError, match="failed"), running:
        raise ValueError("failed")
    with GivingWay(running, LONG_S):
        give_way()


def test_a_thread_outside_a_block_waits_for_nobody():
    running, seen = Running(), Event()

    def other():
        give_way()
        seen.set()

    with running, GivingWay(running, 0.0):
        thread = Thread(target=other)
        thread.start()
        seen.wait()
        thread.join()


def test_many_requests_and_work_beside_them_end():
    running, rng = Running(), np.random.default_rng(0)
    turns = rng.integers(0, 50, (4, 300))

    def requests(spins):
        for n in spins:
            with running:
                for _ in range(n):
                    pass

    def work():
        with GivingWay(running, LONG_S):
            for _ in range(300):
                give_way()

    threads = [Thread(target=requests, args=(spins,)) for spins in turns] + [
        Thread(target=work) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not running._requests
    assert not running._waiting
