"""What a step usually takes: a running quantile that follows its times, and is forgotten where there are
none."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline._usual import (
    FIRST_PATIENCE,
    GROWTH,
    MOST_PATIENCE,
    PER_OCTAVE,
    QUANTILE,
    SETTLED,
    Usual,
    UsualTimes,
)

TIMES = st.lists(st.floats(0.002, 60_000), min_size=1, max_size=200)
WIDTH = 2 ** (1 / PER_OCTAVE)


def usual_of(times):
    usual = Usual()
    for ms in times:
        usual.took(ms)
    return usual


def weighted_quantile(times, share):
    """The oracle: the least time that ``share`` of the weight is not above, the newest of weight 1."""
    times, weights = np.array(times), GROWTH ** np.arange(len(times), dtype=np.float64)
    order = np.argsort(times, kind="stable")
    reached = np.cumsum(weights[order]) >= share * weights.sum() * (1 - 1e-9)
    return times[order][np.argmax(reached)]


@given(TIMES)
def test_the_quantile_is_at_most_a_bin_above_that_of_the_weighted_times(times):
    usual = usual_of(times)
    exact = weighted_quantile(times, QUANTILE)
    assert exact * (1 - 1e-9) <= usual.ms <= exact * WIDTH * (1 + 1e-9)
    assert usual.quantiles()["p90"] == pytest.approx(usual.ms), (
        "the bin that moves with each time is the one counted anew"
    )


def test_nothing_is_usual_before_the_first_time():
    assert Usual().ms == 0 and Usual().quantiles() == {}


def test_times_beyond_all_bins_count_in_the_first_and_the_last_one():
    assert 0 < usual_of([0.0]).ms < 0.002
    assert usual_of([1e9]).ms > 60_000


def test_a_step_that_becomes_faster_is_known_as_faster_after_some_hundred_times():
    slow = usual_of([50.0] * 2000 + [1.0] * 600)
    assert slow.ms < 1.2


def test_weights_that_grow_beyond_all_bounds_are_scaled_down():
    usual = usual_of([5.0] * 12_000)
    assert 5 <= usual.ms <= 5 * WIDTH and np.isfinite(usual._total)


def test_what_is_passed_over_often_enough_is_forgotten_and_ever_later():
    usual = usual_of([50.0])
    for patience in (FIRST_PATIENCE, 2 * FIRST_PATIENCE, 4 * FIRST_PATIENCE):
        for _ in range(patience - 1):
            usual.passed_over()
        assert usual.ms > 0
        usual.passed_over()
        assert usual.ms == 0
        usual.took(50.0)
    for _ in range(20 * MOST_PATIENCE):
        usual.passed_over()
    usual.took(50.0)
    for _ in range(MOST_PATIENCE):
        usual.passed_over()
    assert usual.ms == 0, "there is a longest patience"


def test_a_step_that_runs_again_is_tried_again_soon_the_next_time():
    usual = usual_of([50.0])
    for _ in range(FIRST_PATIENCE):
        usual.passed_over()
    for _ in range(SETTLED):
        usual.took(1.0)
    for _ in range(FIRST_PATIENCE):
        usual.passed_over()
    assert usual.ms == 0


def test_times_that_many_threads_add_are_all_counted():
    times = UsualTimes()
    begin = threading.Barrier(4)

    def adds():
        begin.wait()
        for _ in range(500):
            times.add([("rank.ranker", 4.0), ("rank.top_k", None)])

    threads = [threading.Thread(target=adds) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.add([])
    assert times.of("rank.ranker")._since == 2000
    assert times.quantiles().keys() == {"rank.ranker"}


def test_other_times_are_taken_over_and_then_go_their_own_way():
    old, new = UsualTimes(), UsualTimes()
    old.add([("a", 8.0)])
    place = new.of("a")
    new.begin_from(old)
    assert place.ms == old.of("a").ms > 0
    new.add([("a", 1000.0)] * 5)
    assert old.of("a").ms < 9


def test_other_times_are_taken_over_between_two_requests_never_in_the_middle_of_one():
    old, new = UsualTimes(), UsualTimes()
    taking = threading.Thread(target=new.begin_from, args=(old,))

    class Slow(list):
        def __iter__(self):
            yield "a", 8.0
            taking.start()
            taking.join(0.02)
            assert taking.is_alive()
            yield "b", 8.0

    old.add(Slow())
    taking.join()
    assert new.quantiles() == old.quantiles() and new.quantiles().keys() == {"a", "b"}
