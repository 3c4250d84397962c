"""Fallbacks of stages: they run if the time until the deadline is short, and ``degraded`` names them.

Time is a number that steps advance, so that nothing depends on the speed of the machine.
"""

import math
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logged_cascade import WORKS, logged_cascade, numbered

from karec.errors import ContractError, Unavailable
from karec.pipeline.cascade import Cascade
from karec.pipeline.deadline import MIN_RUN_TIMES, RETRY_AFTER, RunTimes, request_slots
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Filter, Scorer, Selector, Source
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.selectors.top_k import TopK
from karec.steps.side_effects.rank_log import RankLog
from karec.steps.sources.merge import Merge


@dataclass
class Clock:
    """Seconds that only steps advance."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Takes:
    """A step of ``ms`` milliseconds."""

    def __init__(self, name, clock, ms):
        self.name, self.clock, self.ms = name, clock, ms

    def pass_time(self):
        self.clock.now += self.ms / 1e3


class Finds(Takes, Source):
    quota = 10

    def recall(self, request):
        self.pass_time()
        return Candidates.from_ids(np.array([1, 2, 3, 4]))


class Fails(Scorer):
    name, on_failure = "fails", "skip"

    def __init__(self, error):
        self.error = error

    def score(self, request, candidates):
        raise self.error


class Ranks(Takes, Scorer):
    def score(self, request, candidates):
        self.pass_time()
        return candidates.ids.astype(np.float32)


class First(Takes, Selector):
    """The first k."""

    def select(self, request, candidates):
        self.pass_time()
        return Selection(np.arange(min(request.k, len(candidates))))


class KeepsEven(Takes, Filter):
    def keep(self, request, candidates):
        self.pass_time()
        return candidates.ids % 2 == 0


def best():
    step = TopK()
    step.name = "top_k"
    return step


def cascade(clock, rank_ms=12.0):
    """Recall takes 1 ms, rank ``rank_ms`` and its fallback 2 ms, rerank 4 ms."""
    merger = Merge([10], 20)
    merger.name = "merge"
    rank = Stage("rank", (Ranks("ranker", clock, rank_ms), best()), (First("first", clock, 2.0),))
    rerank = Stage("rerank", (First("dpp", clock, 4.0),))
    return Cascade("home", (), Recall((Finds("popular", clock, 1.0),), merger), (rank, rerank), clock=clock)


def measured(cascade, n=MIN_RUN_TIMES):
    for _ in range(n):
        cascade.run(Request(1, k=3))
    return cascade


def test_stage_runs_if_the_time_suffices():
    page = measured(cascade(Clock())).run(Request(1, k=3, deadline_ms=17.1))
    assert page.degraded == () and page.candidates.ids.tolist() == [4, 3, 2]
    assert not page.trace.has_fallback()


def test_fallback_runs_if_time_left_is_below_p90_of_remaining_stages():
    page = measured(cascade(Clock())).run(Request(1, k=3, deadline_ms=16.9))
    assert page.degraded == ("rank: fallback",) and page.candidates.ids.tolist() == [1, 2, 3]
    assert [step.step for step in page.trace.steps] == ["popular", "merge", "first", "dpp"]
    reason = page.trace.steps[2].fallback
    assert (
        reason.stage == "rank"
        and reason.left_ms == pytest.approx(15.9)
        and reason.p90_ms == pytest.approx(16)
    )
    assert str(reason) == "15.9 ms left, p90 of this and the later stages 16.0 ms"
    assert page.trace.steps[2].to_dict()["fallback"]["stage"] == "rank"
    assert page.trace.has_fallback("rank") and not page.trace.has_fallback("rerank")


def test_fallback_does_not_run_before_20_requests_were_measured():
    hurried = Request(1, k=3, deadline_ms=1.0)
    assert measured(cascade(Clock()), 19).run(hurried).degraded == ()
    assert measured(cascade(Clock()), 20).run(hurried).degraded == ("rank: fallback",)


@given(
    deadline_ms=st.floats(0.001, 40.0),
    rank_ms=st.floats(0.1, 30.0),
    n_measured=st.integers(0, 2 * MIN_RUN_TIMES),
)
def test_page_is_whole_and_names_its_fallback_for_any_deadline(deadline_ms, rank_ms, n_measured):
    clock = Clock()
    page = measured(cascade(clock, rank_ms), n_measured).run(Request(1, k=3, deadline_ms=deadline_ms))
    has_fallback = page.trace.has_fallback("rank")
    assert page.candidates.ids.tolist() == ([1, 2, 3] if has_fallback else [4, 3, 2])
    assert page.degraded == (("rank: fallback",) if has_fallback else ())
    if abs(deadline_ms - 1.0 - (rank_ms + 4.0)) > 1e-6:  # after recall; rank and rerank follow
        is_short = deadline_ms - 1.0 < rank_ms + 4.0
        assert has_fallback == (n_measured >= MIN_RUN_TIMES and is_short)


def test_request_without_deadline_runs_no_fallback():
    assert measured(cascade(Clock()), 50).run(Request(1, k=3)).degraded == ()


def test_run_times_of_stage_and_fallback_are_separate():
    tested = measured(cascade(Clock()))
    for _ in range(MIN_RUN_TIMES):
        tested.run(Request(1, k=3, deadline_ms=5.0))
    p90_ms = tested.run_times.to_dict()
    assert p90_ms == pytest.approx({"recall": 1.0, "rank": 12.0, "rank fallback": 2.0, "rerank": 4.0})
    assert tested.min_ms == pytest.approx(7.0), "recall, the fallback and rerank"


def test_p90_is_of_the_newest_run_times():
    times = RunTimes()
    for ms in range(1, 101):
        times.add("rank", float(ms))
    assert times.p90_ms("rank") == 90.0
    for _ in range(200):
        times.add("rank", 5.0)
    assert times.p90_ms("rank") == 5.0


def test_slow_minute_does_not_disable_a_stage_for_good():
    tested = measured(cascade(Clock(), rank_ms=1000.0))
    tested.stages[0].steps[0].ms = 1.0
    is_whole = [tested.run(Request(1, k=3, deadline_ms=30)).degraded == () for _ in range(RETRY_AFTER + 40)]
    assert is_whole == [False] * RETRY_AFTER + [True] * 40


def test_stage_that_stays_slow_is_retried_once_in_64_requests():
    tested = measured(cascade(Clock(), rank_ms=1000.0))
    runs = [tested.run(Request(1, k=3, deadline_ms=30)).degraded == () for _ in range(4 * (RETRY_AFTER + 1))]
    assert sum(runs) == 4


def test_waiting_for_a_slot_counts():
    clock = Clock()
    tested = measured(replace(cascade(clock), threads=1))
    slots, pages = request_slots(1), []
    with slots.hold():
        other = threading.Thread(target=lambda: pages.append(tested.run(Request(1, k=3, deadline_ms=30))))
        other.start()
        while not slots.n_waiting:
            threading.Event().wait(0.0005)
        clock.now += 0.0275
    other.join()
    assert pages[0].degraded == ("rank: fallback",)


def test_rank_log_has_no_row_of_a_stage_whose_fallback_ran(ranker, tmp_path):
    logged = logged_cascade(ranker, tmp_path, RankLog)
    hurried = replace(logged, stages=(Stage("rank", logged.stages[0].steps, (best(),)),))
    for _ in range(MIN_RUN_TIMES):
        hurried.run_times.add("rank", 1e4)
    assert hurried.run(replace(numbered(0), deadline_ms=50)).degraded == ("rank: fallback",)
    assert hurried.run(numbered(1)).degraded == ()
    assert hurried.close()[0].own == {
        "rows_written": WORKS,
        "rows_held": 0,
        "rows_lost": 0,
        "pages_left_out": 1,
    }


def test_rank_log_has_no_row_of_a_stage_whose_scorer_failed(ranker, tmp_path):
    logged = logged_cascade(ranker, tmp_path, RankLog)
    hydrator, *steps = logged.stages[0].steps
    unavailable = Unavailable("the store is down")
    tried = replace(logged, stages=(Stage("rank", (hydrator, Fails(unavailable), *steps)),))
    assert tried.run(numbered(0)).degraded == ("rank.fails",)
    assert logged.run(numbered(1)).degraded == ()
    counts = logged.close()[0].own
    assert (counts["rows_written"], counts["pages_left_out"]) == (WORKS, 1)


@pytest.mark.parametrize("deadline_ms", [0, -1, -0.001, math.nan, math.inf, 1e300, 86_400_001, 10**400])
def test_deadline_out_of_range_is_refused(deadline_ms):
    with pytest.raises(ValueError, match="expected more than 0 and at most 86,400,000, a day"):
        Request(1, deadline_ms=deadline_ms)


@pytest.mark.parametrize("deadline_ms", ["50", b"5", True, [5], 5j, np.array([5.0]), object()])
def test_deadline_that_is_not_a_number_is_refused(deadline_ms):
    with pytest.raises(ValueError, match="expected a number of milliseconds"):
        Request(1, deadline_ms=deadline_ms)


@pytest.mark.parametrize("deadline_ms", [1, 5e-324, np.float32(2.5), np.int64(7), 86_400_000])
def test_any_number_above_0_is_a_deadline(deadline_ms):
    assert len(cascade(Clock()).run(Request(1, k=3, deadline_ms=deadline_ms))) == 3


def test_fallback_without_steps_or_without_a_rule_of_the_stage_is_refused():
    even = KeepsEven("even", Clock(), 0)
    with pytest.raises(ContractError, match="stage 'rank': its fallback lacks 'even'"):
        Stage("rank", (even, best()), (best(),))
    with pytest.raises(ContractError, match="stage 'rank': its fallback has no steps"):
        Stage("rank", (best(),), ())
    with pytest.raises(ContractError, match="has no role of a stage"):
        Stage("rank", (best(),), (Finds("source", Clock(), 0),))
    Stage("rank", (even, best()), (even, best()))
