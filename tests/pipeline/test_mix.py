"""Mixing of item types: held to exhaustive search over all orders of types."""

import itertools
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline.mix import ScoreCalibration, TypeShare, mix_item_types
from karec.pipeline.trace import StepTrace, Trace
from karec.pipeline.types import Candidates, Page, Request

TYPES = ("work", "live", "song")
PERCENT = st.integers(0, 100).map(lambda percent: percent / 100)


def broken(order, shares, k):
    """Returns the names of the constraints that the order of types breaks."""
    names = set()
    for name, share in shares.items():
        count = order.count(name)
        if count > floor(share.cap * k + 1e-9):
            names.add(f"cap of {name}")
        if count < ceil(share.guarantee * k - 1e-9):
            names.add(f"guarantee of {name}")
        for place in share.positions:
            if place >= len(order) or order[place] != name:
                names.add(f"position {place} of {name}")
    return names


def score_sequence(order, scores):
    heads = {name: iter(values) for name, values in scores.items()}
    return tuple(next(heads[name]) for name in order)


def all_orders(scores, k):
    """Returns every order of types of a page that is as full as possible."""
    n = min(k, sum(map(len, scores.values())))
    orders = itertools.product(scores, repeat=n)
    return [order for order in orders if all(order.count(name) <= len(scores[name]) for name in scores)]


@st.composite
def problems(draw):
    k = draw(st.integers(1, 6))
    # distinct scores, not sorted: a scene's last stage need not order by score
    values = draw(st.permutations(range(18)))
    sizes = [draw(st.integers(0, 6)) for _ in TYPES]
    starts = np.cumsum([0, *sizes])
    scores = {name: np.array(values[starts[i] : starts[i + 1]]) / 20 for i, name in enumerate(TYPES)}
    places = draw(st.lists(st.integers(0, 7), unique=True, max_size=3))
    owners = [draw(st.sampled_from(TYPES)) for _ in places]
    shares = {}
    for name in TYPES:
        positions = tuple(place for place, owner in zip(places, owners, strict=True) if owner == name)
        shares[name] = TypeShare(positions, draw(PERCENT), draw(PERCENT))
    return scores, shares, k


@given(problems())
def test_mixed_page_is_the_best_of_all_that_hold_the_constraints(problem):
    scores, shares, k = problem
    order, relaxed = mix_item_types(scores, shares, k)
    valid = [other for other in all_orders(scores, k) if not broken(other, shares, k)]
    if valid:
        assert relaxed == ()
        best = max(score_sequence(other, scores) for other in valid)
        assert score_sequence(order, scores) == best
    else:
        assert relaxed


@given(problems())
def test_page_is_full_and_names_exactly_the_broken_constraints(problem):
    scores, shares, k = problem
    order, relaxed = mix_item_types(scores, shares, k)
    assert len(order) == min(k, sum(map(len, scores.values())))
    assert set(relaxed) == broken(order, shares, k)


@given(problems())
def test_caps_and_guarantees_hold_before_positions(problem):
    scores, shares, k = problem
    order, _ = mix_item_types(scores, shares, k)
    free = {name: TypeShare((), share.cap, share.guarantee) for name, share in shares.items()}
    if any(not broken(other, free, k) for other in all_orders(scores, k)):
        assert not broken(order, free, k)


@given(problems())
def test_caps_of_later_types_are_broken_before_those_of_earlier_types(problem):
    scores, shares, k = problem
    order, _ = mix_item_types(scores, shares, k)

    def broken_caps(other):
        names = broken(other, shares, k)
        return [f"cap of {name}" in names for name in shares]

    assert broken_caps(order) == min(map(broken_caps, all_orders(scores, k)))


@given(problems())
def test_mixed_page_has_the_largest_sum_if_lists_are_in_score_order(problem):
    scores, shares, k = problem
    scores = {name: np.sort(values)[::-1] for name, values in scores.items()}
    shares = {name: TypeShare((), share.cap, share.guarantee) for name, share in shares.items()}
    order, _ = mix_item_types(scores, shares, k)
    valid = [other for other in all_orders(scores, k) if not broken(other, shares, k)]
    if valid:
        best = max(sum(score_sequence(other, scores)) for other in valid)
        assert sum(score_sequence(order, scores)) == pytest.approx(best)


def test_fractions_of_a_page_are_rounded_as_decimals():
    scores = {"work": np.zeros(100), "live": np.ones(100)}
    for percent in (7, 29, 57, 58):  # 0.07 · 100 and 0.57 · 100 are not integers in float64
        shares = {"work": TypeShare(), "live": TypeShare((), percent / 100, percent / 100)}
        order, relaxed = mix_item_types(scores, shares, 100)
        assert (order.count("live"), relaxed) == (percent, ())


def test_tie_goes_to_the_first_type():
    shares = {"work": TypeShare(), "live": TypeShare()}
    assert mix_item_types({"work": np.ones(2), "live": np.ones(2)}, shares, 3)[0] == ("work", "work", "live")


def test_calibration_is_the_logistic_function_of_scale_and_bias():
    calibration = ScoreCalibration("rank", 2.0, -1.0, 0.3)
    scores = np.array([-1.0, 0.0, 0.5], np.float32)
    assert calibration.apply(scores) == pytest.approx([1 / (1 + np.exp(3)), 1 / (1 + np.e), 0.5])


def probabilities_of(ids, *steps):
    """Returns those of a page of ``ids``, whose stage scored the items 3, 1 and 2 with 0.0, 1.0 and 2.0."""
    scored = Candidates.from_ids(np.array([3, 1, 2]), np.array([0.0, 1.0, 2.0], np.float32))
    page = Page(Request(7), Candidates.from_ids(np.array(ids)), Trace(steps), {"rank": scored})
    return ScoreCalibration("rank", 1.0, 0.0, 0.3).read(page).tolist()


def test_calibration_reads_scores_by_id_and_gives_the_rate_to_items_of_the_reserve():
    assert probabilities_of([2, 9, 3, 0]) == pytest.approx([1 / (1 + np.exp(-2)), 0.3, 0.5, 0.3])
    assert probabilities_of(np.empty(0, np.int64)) == []


def test_calibration_gives_the_rate_if_a_scorer_of_the_stage_failed():
    failed = StepTrace("rank", "ranker", "scorer", 3, 3, 1.0, failure="OSError: no file")
    assert probabilities_of([2, 3], failed) == [0.3, 0.3]
    assert probabilities_of([3], failed._replace(stage="rerank")) == [0.5]
    assert probabilities_of([3], failed._replace(role="filter")) == [0.5]


def test_calibration_of_a_far_score_is_0_or_1(recwarn):
    assert ScoreCalibration("rank", 1.0, 0.0, 0.3).apply(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
    assert not recwarn.list


@pytest.mark.parametrize(("scale", "rate"), [(-0.1, 0.5), (1.0, 1.5), (1.0, -0.5)])
def test_calibration_refuses_a_falling_map_and_a_rate_beyond_1(scale, rate):
    with pytest.raises(ValueError, match="expected scale ≥ 0 and a rate"):
        ScoreCalibration("rank", scale, 0.0, rate)
