"""Sources with a timeout: late results are left out, named and counted, and no thread is killed.

A source waits for an event that the test sets. The tests do not depend on the speed of the machine.
"""

import os
import threading

import numpy as np
import pytest

from karec.errors import Unavailable
from karec.pipeline.deadline import TimeoutCounts
from karec.pipeline.recall import Recall
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.sources.merge import Merge

FOREVER, AT_ONCE = 60_000.0, 1.0


class Finds(Source):
    """Returns ``ids`` or raises them. It waits for ``may_go`` if that is given."""

    def __init__(self, name, ids, timeout_ms=None, may_go=None, on_failure="skip"):
        self.name, self.ids, self.timeout_ms, self.may_go, self.on_failure = (
            name,
            ids,
            timeout_ms,
            may_go,
            on_failure,
        )
        self.quota, self.threads, self.ended = 10, [], threading.Event()

    def recall(self, request):
        self.threads.append(threading.current_thread())
        if self.may_go is not None:
            self.may_go.wait()
        self.ended.set()
        if isinstance(self.ids, BaseException):
            raise self.ids
        return Candidates.from_ids(np.array(self.ids))


def ask(*sources):
    recall = Recall(sources, Merge([10] * len(sources), 100))
    return recall, *recall.run(Request(1))


def settled(deadline):
    """Waits until no late call runs. The worker ends its call shortly after the source returns."""
    while deadline.counts().running:
        os.sched_yield()


@pytest.fixture
def may_go():
    """Event that is set when the test ends, so that no thread waits longer."""
    event = threading.Event()
    yield event
    event.set()


def test_source_without_timeout_runs_on_the_request_thread():
    plain = Finds("plain", [1, 2])
    recall, result, _ = ask(plain)
    assert (
        plain.threads == [threading.current_thread()]
        and result.ids.tolist() == [1, 2]
        and recall.counts() == {}
    )


def test_source_in_time_is_merged():
    timed = Finds("timed", [2, 3], FOREVER)
    recall, result, traces = ask(Finds("plain", [1, 2]), timed)
    assert result.ids.tolist() == [1, 2, 3] and result.sources.tolist() == [1, 3, 2]
    assert timed.threads != [threading.current_thread()] and not any(trace.failure for trace in traces)
    assert recall.counts() == {"timed": TimeoutCounts(calls=1)}


def test_late_source_is_skipped_named_and_counted(may_go):
    slow = Finds("slow", [7], AT_ONCE, may_go)
    recall, result, traces = ask(slow, Finds("plain", [1]))
    assert result.ids.tolist() == [1] and result.sources.tolist() == [2], (
        "bits follow the positions of the sources"
    )
    assert (
        traces[0].place == "recall.slow"
        and traces[0].failure == "Unavailable: slow did not answer within 1 ms"
    )
    assert recall.counts() == {"slow": TimeoutCounts(calls=1, late=1, running=1)}


def test_source_is_busy_while_a_late_call_runs(may_go):
    slow = Finds("slow", [7], AT_ONCE, may_go)
    recall, _, _ = ask(slow)
    for _ in range(3):
        _, traces = recall.run(Request(1))
        assert traces[0].failure.startswith("Unavailable: slow is busy: an earlier call is past its 1 ms")
    assert recall.counts() == {"slow": TimeoutCounts(calls=4, late=1, busy=3, running=1)}
    may_go.set()
    settled(recall.timed_calls[0])
    assert len(slow.threads) == 1
    slow.timeout_ms = recall.timed_calls[0].timeout_ms = FOREVER
    result, _ = recall.run(Request(1))
    assert result.ids.tolist() == [7], "the source is called again after its late call ended"
    assert recall.counts() == {"slow": TimeoutCounts(calls=5, late=1, busy=3)}


def test_late_result_is_dropped_and_its_error_counted(may_go, caplog):
    slow = Finds("slow", ValueError("wrong"), AT_ONCE, may_go)
    recall, _, _ = ask(slow)
    may_go.set()
    settled(recall.timed_calls[0])
    assert recall.counts() == {"slow": TimeoutCounts(calls=1, late=1, failed=1)}
    assert "slow failed after its deadline" in caplog.text


@pytest.mark.parametrize("error", [Unavailable("down"), OSError("gone")])
def test_source_with_timeout_skips_same_errors(error):
    _, result, traces = ask(Finds("broken", error, FOREVER), Finds("plain", [1]))
    assert result.ids.tolist() == [1] and traces[0].failure == f"{type(error).__name__}: {error}"


def test_bug_in_a_source_with_timeout_is_raised():
    with pytest.raises(ZeroDivisionError):
        ask(Finds("broken", ZeroDivisionError("oops"), FOREVER))


def test_late_source_that_must_not_fail_fails_the_request(may_go):
    with pytest.raises(Unavailable, match="slow did not answer within 1 ms"):
        ask(Finds("slow", [7], AT_ONCE, may_go, on_failure="fail"))


def test_abandoned_calls_of_a_failed_request_count_as_late(may_go):
    slow = Finds("slow", [7], FOREVER, may_go)
    recall = Recall((Finds("broken", ValueError("x")), slow), Merge([1, 1], 9))
    with pytest.raises(ValueError, match="x"):
        recall.run(Request(1))
    assert recall.counts() == {"slow": TimeoutCounts(calls=1, late=1, running=1)}


def test_concurrent_requests_share_a_source_in_time():
    timed = Finds("timed", [5], FOREVER)
    recall = Recall((timed,), Merge([1], 9))
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(recall.run(Request(1))[0].ids.tolist()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[5]] * 8 and recall.counts() == {"timed": TimeoutCounts(calls=8)}


def test_threads_of_timed_calls_are_reused():
    timed = Finds("timed", [5], FOREVER)
    recall = Recall((timed,), Merge([1], 9))
    for _ in range(20):
        recall.run(Request(1))
    assert len(set(timed.threads)) < 20 and all(thread.daemon for thread in timed.threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_child_has_no_late_calls(may_go):
    slow = Finds("slow", [7], AT_ONCE, may_go)
    recall, _, _ = ask(slow)
    child = os.fork()
    if child == 0:
        try:
            slow.may_go = None
            recall.timed_calls[0].timeout_ms = FOREVER
            result, _ = recall.run(Request(1))
            os._exit(
                0 if result.ids.tolist() == [7] and recall.counts()["slow"] == TimeoutCounts(calls=1) else 1
            )
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("timeout_ms", [0, -1.0, float("nan"), float("inf")])
def test_recall_refuses_a_timeout_out_of_range(timeout_ms):
    with pytest.raises(ValueError, match=f"late: timeout_ms is {timeout_ms}, expected more than 0"):
        Recall((Finds("late", [1], timeout_ms),), Merge(quotas=[10], limit=10))
