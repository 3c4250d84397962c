"""How long one waits for a thread, and what one with a deadline may take of the time."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from karec.pipeline.deadline import RunTimes
from karec.pipeline.step import Stage
from karec.pipeline.trace import FallbackReason, StepTrace, Trace
from karec.serve.recommend import usually_ms
from karec.serve.turns import Turn, Turns


def waiting(turns, *those):
    for turn in those:
        turns.comes(turn)
    return those


def running(turns, turn, now=0.0):
    turns.comes(turn)
    turns.begins(turn, now)
    return turn


def of_usual(ms, threads=1):
    turns = Turns(threads)
    turns.is_over(running(turns, Turn()), ms)
    return turns


def test_where_a_thread_is_free_there_is_no_wait_however_long_others_took():
    turns = of_usual(60_000, threads=2)
    running(turns, Turn())
    assert turns.waiting_ms(0.0) == 0


def test_the_wait_is_what_is_left_of_those_that_run_and_what_those_that_wait_usually_take():
    turns = of_usual(80, threads=2)
    running(turns, Turn())
    running(turns, Turn(), now=0.020)
    assert turns.waiting_ms(0.040) == pytest.approx((40 + 60) / 2)
    waiting(turns, Turn(), Turn())
    assert turns.waiting_ms(0.040) == pytest.approx((40 + 60 + 80 + 80) / 2)


def test_one_that_takes_longer_than_expected_is_expected_to_end_now():
    turns = of_usual(80)
    running(turns, Turn())
    assert turns.waiting_ms(10.0) == 0


def test_for_one_with_a_deadline_those_before_it_that_have_one_give_way():
    turns = of_usual(80)
    running(turns, Turn())
    waiting(turns, Turn(due=1.0, least_ms=10), Turn())
    assert turns.waiting_ms(0.0) == pytest.approx(80 + 80 + 80)
    assert turns.waiting_ms(0.0, has_deadline=True) == pytest.approx(80 + 10 + 80)


def test_early_failures_do_not_shorten_the_usual_time_and_late_ones_lengthen_it():
    turns = of_usual(80)
    turns.is_over(running(turns, Turn()), 0.1, failed=True)
    assert turns.usual_ms == 80
    turns.is_over(running(turns, Turn()), 180, failed=True)
    assert turns.usual_ms == pytest.approx(90)


def test_with_nobody_behind_it_a_request_has_all_that_is_left():
    turns = of_usual(20)
    assert running(turns, Turn(due=0.050, least_ms=8), now=0.010).may_ms == pytest.approx(40)
    assert running(turns, Turn()).may_ms == math.inf


def test_a_request_shares_its_time_with_those_behind_it():
    turns = of_usual(20)
    (first, *_) = waiting(turns, Turn(due=0.060, least_ms=8), Turn(), Turn())
    turns.begins(first, 0.0)
    assert first.may_ms == pytest.approx(20)


def test_a_request_leaves_each_one_behind_it_as_little_as_it_can_take():
    turns = of_usual(20)
    first, second, third = waiting(
        turns, Turn(due=0.060, least_ms=8), Turn(due=0.060, least_ms=9), Turn(due=0.028, least_ms=10)
    )
    turns.begins(first, 0.0)
    assert first.may_ms == pytest.approx(28 - 10 - 9)
    turns.is_over(first, 9)
    turns.begins(second, 0.009)
    assert second.may_ms == pytest.approx(28 - 10 - 9)
    turns.is_over(second, 9)
    turns.begins(third, 0.018)
    assert third.may_ms == pytest.approx(10)


def test_one_that_has_given_way_is_expected_to_take_what_it_may():
    turns = of_usual(20)
    first, _ = waiting(turns, Turn(due=0.024, least_ms=8), Turn(due=0.024, least_ms=8))
    turns.begins(first, 0.0)
    assert turns.waiting_ms(0.0, has_deadline=True) == pytest.approx(12 + 8)


def test_the_share_of_their_sums_that_requests_take_is_that_of_nine_in_ten():
    turns, rng = Turns(1), np.random.default_rng(0)
    assert turns.share == 1.0
    shares = []
    for ms in rng.uniform(6.0, 8.0, 4_000).tolist():
        turns.took(ms, 10.0)
        shares.append(turns.share)
    assert np.mean(shares[1_000:]) == pytest.approx(0.78, abs=0.01)


def test_whatever_requests_take_the_share_stays_within_half_and_one():
    turns = Turns(1)
    turns.took(5.0, 0.0)  # nothing is known of its steps
    assert turns.share == 1.0
    for _ in range(1_000):
        turns.took(1.0, 100.0)
    assert turns.share == 0.5
    for _ in range(1_000):
        turns.took(200.0, 100.0)
    assert turns.share == 1.0


def test_usual_time_of_a_request_is_the_sum_of_what_ran():
    cascade = SimpleNamespace(run_times=RunTimes(), stages=[Stage("rank", ()), Stage("rerank", ())])
    p90_ms = {"recall": 1.0, "rank": 20.0, "rank fallback": 2.0, "rerank": 9.0, "rest": 0.5}
    for part, ms in [*p90_ms.items()] * 20:
        cascade.run_times.add(part, ms)
    steps = (
        StepTrace("recall", "popular", "source", 0, 8, 7.0),
        StepTrace("rank", "top_k", "selector", 8, 3, 7.0, fallback=FallbackReason("rank", 5.0, 20.0)),
    )
    assert usually_ms(cascade, Trace(steps)) == 3.5
