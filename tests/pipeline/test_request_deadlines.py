"""Requests with a deadline: what does not fit gives way to its substitute and is named; the answer is whole
and valid.

Time is a number that steps move on, so that nothing depends on how fast the machine is.
"""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
from hurried_cascades import Clock, check_hurried
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_cascade import WORKS, logged_cascade, numbered

from karec.errors import ContractError, Unavailable
from karec.pipeline._slots import shared_slots
from karec.pipeline._units import OUTSIDE
from karec.pipeline.cascade import Cascade, Recall
from karec.pipeline.step import Filter, Hydrator, QueryHydrator, Scorer, Selector, Source, Stage
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.selectors.top_k import TopK
from karec.steps.side_effects.rank_log import RankLog
from karec.steps.sources.merge import Merge


class Takes:
    """A step of ``ms`` milliseconds."""

    def __init__(self, name, clock, ms, substitute=None):
        self.name, self.clock, self.ms, self.substitute = name, clock, ms, substitute

    def pass_time(self):
        self.clock.now += self.ms / 1e3


class Finds(Takes, Source):
    quota = 10

    def __init__(self, name, clock, ms, ids, substitute=None):
        super().__init__(name, clock, ms, substitute)
        self.ids = ids

    def recall(self, request):
        self.pass_time()
        return Candidates.from_ids(np.array(self.ids))


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


class KnowsUser(Takes, QueryHydrator):
    def hydrate_request(self, request):
        self.pass_time()
        return {self.name: np.zeros(1)}


class GivesColumn(Takes, Hydrator):
    def hydrate(self, request, candidates):
        self.pass_time()
        return {}


def best():
    step = TopK()
    step.name = "top_k"
    return step


def cascade(clock, recall_ms=3.0, rank_ms=12.0, select_ms=4.0):
    """``model`` may be left out, ``rank`` as a whole has ``top_k`` in its place, the last selector another
    one."""
    sources = (
        Finds("model", clock, recall_ms, [9, 8, 7], "nothing"),
        Finds("popular", clock, 1.0, [1, 2, 3, 4]),
    )
    merger = Merge([10, 10], 20)
    merger.name = "merge"
    rank = Stage("rank", (Ranks("ranker", clock, rank_ms), best()), (best(),))
    rerank = Stage("rerank", (First("dpp", clock, select_ms, First("first", clock, 0.5)),))
    return Cascade("home", (), Recall(sources, merger), (rank, rerank), clock=clock)


def known(of, times=3):
    for _ in range(times):
        of.run(Request(1, k=3))
    return of


def test_with_enough_time_nothing_gives_way():
    feed = known(cascade(Clock())).run(Request(1, k=3, deadline_ms=100))
    assert feed.degraded == () and [item.id for item in feed] == [9, 8, 7]
    assert all(step.no_time is None for step in feed.trace.steps)


def test_a_stage_that_does_not_fit_takes_its_substitute_and_is_named_with_the_reason():
    feed = known(cascade(Clock())).run(Request(1, k=3, deadline_ms=13))
    assert feed.degraded == ("rank: no time",), "model and dpp fit once the ranker gives way"
    (step,) = (step for step in feed.trace.steps if step.no_time)
    assert (step.place, step.no_time.place, step.timed_as) == ("rank.top_k", "rank", "rank (top_k)")
    assert step.no_time.left_ms == pytest.approx(9.0) and 16 <= step.no_time.usual_ms <= 16 * 1.1
    assert str(step.no_time).startswith("no time: 9.0 ms left, usually 1")
    assert step.as_dict()["no_time"]["place"] == "rank"


def test_earlier_ones_give_way_where_that_is_enough():
    feed = known(cascade(Clock())).run(Request(1, k=3, deadline_ms=20))
    assert feed.degraded == ("recall.model: no time",)
    assert [item.id for item in feed] == [4, 3, 2] and [item.recalled_by for item in feed] == [
        ("popular",)
    ] * 3


def test_what_cannot_fit_at_all_is_answered_by_substitutes_alone():
    feed = known(cascade(Clock())).run(Request(1, k=3, deadline_ms=0.5))
    assert feed.degraded == ("recall.model: no time", "rank: no time", "rerank.dpp: no time")
    assert len(feed) == 3 and feed.short is None
    assert [step.step for step in feed.trace.steps] == ["model", "popular", "merge", "top_k", "first"]


def test_a_step_of_which_no_time_is_known_runs():
    assert cascade(Clock()).run(Request(1, k=3, deadline_ms=17)).degraded == (), (
        "1 ms is left for the last, of 4 ms"
    )


def test_usual_times_are_those_of_the_steps_and_of_their_substitutes():
    of = known(cascade(Clock()))
    of.run(Request(1, k=3, deadline_ms=0.5))
    usual = of.usual_ms
    assert usual.keys() >= {
        "recall.model",
        "rank.ranker",
        "rank (top_k)",
        "rerank.dpp",
        "rerank.dpp (first)",
        OUTSIDE,
    }
    assert 12 <= usual["rank.ranker"]["p90"] <= 12 * 1.1 and 0.5 <= usual["rerank.dpp (first)"]["p50"] <= 0.55


def test_the_least_that_a_request_takes_is_what_cannot_give_way_and_substitutes():
    of = known(cascade(Clock()))
    of.run(Request(1, k=3, deadline_ms=0.5))
    assert 1.5 <= of.least_ms <= 1.5 * 1.1, "popular and the selector's substitute"


def test_a_slow_minute_leaves_no_step_out_for_good():
    clock = Clock()
    of = known(cascade(clock, rank_ms=1000.0), 1)
    of.stages[0].steps[0].ms = 1.0
    ran = [of.run(Request(1, k=3, deadline_ms=30)).degraded == () for _ in range(100)]
    assert not any(ran[:60]) and all(ran[-30:])


def test_a_substitute_source_brings_its_works_in_its_own_name():
    clock = Clock()
    model = Finds("model", clock, 9.0, [9, 8], Finds("lists", clock, 1.0, [8]))
    of = Cascade("home", (), Recall((model,), Merge([10], 10)), (Stage("rank", (best(),)),), clock=clock)
    feed = known(of).run(Request(1, deadline_ms=5))
    assert [(item.id, item.recalled_by) for item in feed] == [(8, ("lists",))]
    assert feed.degraded == ("recall.model: no time",)


def test_request_hydrators_and_columns_may_be_left_out():
    clock = Clock()
    steps = (GivesColumn("column", clock, 5.0, "nothing"), best())
    before = (KnowsUser("mood", clock, 5.0, "nothing"), KnowsUser("user", clock, 1.0))
    sources = (Finds("popular", clock, 1.0, [1, 2]),)
    of = Cascade("home", before, Recall(sources, Merge([10], 10)), (Stage("rank", steps),), clock=clock)
    feed = known(of).run(Request(1, deadline_ms=3))
    assert feed.degraded == ("request.mood: no time", "rank.column: no time") and len(feed) == 2
    assert [step.n_out for step in feed.trace.steps] == [-1, -1, 2, 2, 2, 2]


def test_waiting_for_a_slot_counts():
    clock = Clock()
    of = replace(cascade(clock), threads=1)
    known(of)
    slots, feeds = shared_slots(1), []
    with slots.taken():
        other = threading.Thread(target=lambda: feeds.append(of.run(Request(1, k=3, deadline_ms=30))))
        other.start()
        while not slots.waiting:
            threading.Event().wait(0.0005)
        clock.now += 0.0275
    other.join()
    assert feeds[0].degraded == ("recall.model: no time", "rank: no time", "rerank.dpp: no time")


def test_a_channel_with_a_time_of_its_own_has_no_more_than_the_request_can_spare():
    may_go, clock = threading.Event(), Clock()

    class Hangs(Finds):
        timeout_ms, on_failure = 60_000.0, "skip"

        def recall(self, request):
            may_go.wait()
            return Candidates.empty()

    slow = Hangs("slow", clock, 0.0, [])
    recall = Recall((slow, Finds("popular", clock, 0.0, [1])), Merge([10, 10], 10))
    try:
        feed = Cascade("home", (), recall, (Stage("rank", (best(),)),), clock=clock).run(
            Request(1, deadline_ms=2)
        )
    finally:
        may_go.set()
    assert feed.degraded == ("recall.slow",) and [item.id for item in feed] == [1]
    assert feed.trace.steps[0].failure == "Unavailable: slow did not answer within 2 ms"


def test_the_rank_log_has_no_row_of_a_stage_that_gave_way(ranker, tmp_path):
    logged = logged_cascade(ranker, tmp_path, RankLog)
    rank = logged.stages[0]
    hurried = replace(logged, stages=(Stage("rank", rank.steps, (best(),)),))
    hurried.usual.add([("rank.ranker", 1e4), (f"rank.{rank.steps[0].name}", 1e4)] * 3)
    assert hurried.run(replace(numbered(0), deadline_ms=50)).degraded == ("rank: no time",)
    assert hurried.run(numbered(1)).degraded == ()
    assert hurried.close()[0].own == {
        "rows_written": WORKS,
        "rows_held": 0,
        "rows_lost": 0,
        "short_of_time": 1,
    }


@pytest.mark.parametrize("deadline_ms", [0, -1, -0.001, math.nan, math.inf, 1e300, 86_400_001, 10**400])
def test_a_deadline_out_of_range_is_refused(deadline_ms):
    with pytest.raises(ValueError, match="deadline_ms must be above 0 and at most 86,400,000, a day"):
        Request(1, deadline_ms=deadline_ms)


@pytest.mark.parametrize("deadline_ms", ["50", b"5", True, [5], 5j, np.array([5.0]), object()])
def test_a_deadline_that_is_no_number_is_refused(deadline_ms):
    with pytest.raises(ValueError, match="deadline_ms must be a number of milliseconds"):
        Request(1, deadline_ms=deadline_ms)


@pytest.mark.parametrize("deadline_ms", [1, 5e-324, np.float32(2.5), np.int64(7), 86_400_000])
def test_any_number_above_0_is_a_deadline(deadline_ms):
    assert len(cascade(Clock()).run(Request(1, k=3, deadline_ms=deadline_ms))) == 3


CLOCK = Clock()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            KeepsEven("even", CLOCK, 0, "nothing"),
            "filter 'even' takes no substitute: a filter runs whatever the time",
        ),
        (KeepsEven("even", CLOCK, 0, KeepsEven("other", CLOCK, 0)), "filter 'even' takes no substitute"),
        (Ranks("r", CLOCK, 0, First("first", CLOCK, 0)), "scorer 'r': its substitute .* is no scorer"),
        (
            Ranks("r", CLOCK, 0, "popular"),
            "scorer 'r': substitute = 'popular', expected another scorer, or 'nothing'",
        ),
        (First("f", CLOCK, 0, "nothing"), "selector 'f': a selector cannot be left out"),
        (
            Ranks("r", CLOCK, 0, Ranks("s", CLOCK, 0, "nothing")),
            "its substitute 's' cannot have a substitute",
        ),
    ],
)
def test_what_cannot_stand_in_is_refused(step, message):
    with pytest.raises(ContractError, match=message):
        Stage("rank", (step, best()))


def test_a_stage_s_substitute_keeps_its_rules_and_has_steps():
    even = KeepsEven("even", CLOCK, 0)
    with pytest.raises(ContractError, match="stage 'rank': 'even' keeps a rule of the feed"):
        Stage("rank", (even, best()), (best(),))
    with pytest.raises(ContractError, match="stage 'rank': its substitute has no steps"):
        Stage("rank", (best(),), ())
    with pytest.raises(ContractError, match="stage 'rank' has a substitute as a whole"):
        Stage("rank", (Ranks("r", CLOCK, 0, "nothing"), best()), (best(),))
    Stage("rank", (even, best()), (even, best()))


def test_a_substitute_that_must_answer_and_cannot_fails_the_request():
    clock = Clock()

    class Down(Finds):
        def recall(self, request):
            raise Unavailable("down")

    recall = Recall((Finds("a", clock, 9.0, [1], Down("b", clock, 0.0, [])),), Merge([10], 10))
    of = known(Cascade("home", (), recall, (Stage("rank", (best(),)),), clock=clock))
    with pytest.raises(Unavailable, match="down"):
        of.run(Request(1, deadline_ms=1))


@settings(max_examples=40)
@given(st.integers(0, 10**9))
def test_whatever_the_deadline_the_answer_is_whole_valid_and_says_what_gave_way(seed):
    check_hurried(seed)
