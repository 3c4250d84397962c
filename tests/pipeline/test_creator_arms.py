"""Merged orders of arms: an oracle, the scores of control, items without a creator, and random ties."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thirty_works import candidates, thirty_works

from karec.pipeline.creator_arms import CreatorArms, merge_orders
from karec.pipeline.stage import Stage
from karec.pipeline.step import Scorer
from karec.pipeline.types import Request
from karec.steps.selectors.top_k import TopK

N = 12
columns = st.lists(st.integers(0, 5), min_size=N, max_size=N)


class FixedScores(Scorer):
    """Scores by the item's id."""

    name = "fixed"

    def __init__(self, scores):
        self.scores = np.asarray(scores, np.float32)

    def score(self, request, candidates):
        return self.scores[candidates.ids]


def aims_of(scores, numbers):
    """Positions of the items in the order of their own arm."""
    orders = [sorted(range(N), key=lambda item, own=own: (-own[item], item)) for own in scores]
    return [orders[number].index(item) for item, number in enumerate(numbers)]


@given(columns, columns, columns, st.lists(st.integers(0, 2), min_size=N, max_size=N), st.integers(0, 99))
def test_items_are_ordered_by_their_position_in_their_own_arm(control, one, other, numbers, seed):
    scores = [np.array(values, np.float32) for values in (control, one, other)]
    order = merge_orders(scores, np.array(numbers), seed).tolist()
    aims = aims_of((control, one, other), numbers)
    assert sorted(order) == list(range(N))
    assert [aims[item] for item in order] == sorted(aims)


@given(columns, columns, st.integers(0, 2), st.integers(0, 99))
def test_one_arm_for_all_items_gives_its_order(control, one, number, seed):
    scores = [np.array(values, np.float32) for values in (control, one, control[::-1])]
    order = merge_orders(scores, np.full(N, number), seed)
    assert order.tolist() == np.argsort(-scores[number], kind="stable").tolist()


def test_items_with_equal_positions_are_in_both_orders_equally_often():
    scores = [np.array([2, 1], np.float32), np.array([1, 2], np.float32)]
    n = 2_000  # both items are first in their own arm
    n_first = sum(merge_orders(scores, np.array([0, 1]), seed)[0] == 0 for seed in range(n))
    assert abs(n_first / n - 0.5) < 4.5 * 0.5 / np.sqrt(n)


@pytest.fixture(scope="module")
def view():
    return thirty_works().pinned()


def stage_of(control, arm, choose):
    """A stage of one scorer whose creators have another one."""
    arms = CreatorArms("creator_id", choose, 0, ((FixedScores(arm),),))
    return Stage("rank", (FixedScores(control), TopK()), creator_arms=arms)


def test_stage_orders_items_by_the_arms_of_their_creators(view):
    control, arm = np.arange(30.0, 0, -1), np.arange(30.0)
    chosen = {}

    def choose(creators):
        chosen["creators"] = sorted(creators.tolist())
        return (creators == 3).astype(np.int64)

    request = Request(1, 10, request_id="r", view=view)
    outcome = stage_of(control, arm, choose).run(request, candidates(range(10)))
    ids = outcome.candidates.ids.tolist()
    assert sorted(ids) == list(range(10)) and chosen["creators"] == sorted(i % 7 for i in range(10))
    # Item 3 is of creator 3: it aims at position 6 of the reverse order, in place of 3.
    assert [item for item in ids if item != 3] == [0, 1, 2, 4, 5, 6, 7, 8, 9] and ids.index(3) in (5, 6)
    assert outcome.candidates.scores.tolist() == control[:10].tolist()
    assert outcome.scored.scores[3] == control[ids.index(3)]
    trace = outcome.steps[2]
    assert (trace.step, trace.notes["n_items"]) == ("creator_arms", [9, 1])


def test_items_without_a_creator_or_a_row_keep_the_arm_of_control(view):
    seen = []

    def choose(creators):
        seen.extend(creators.tolist())
        return np.ones(len(creators), np.int64)

    items = candidates(range(4))
    items = items.with_rows(np.array([-1, 1, -1, 3]))
    stage = stage_of(np.arange(30.0, 0, -1), np.arange(30.0), choose)
    outcome = stage.run(Request(1, 4, request_id="r", view=view), items)
    assert seen == [1, 3] and outcome.steps[2].notes["n_items"] == [2, 2]


def test_fallback_has_the_order_of_control(view):
    stage = stage_of(np.arange(30.0, 0, -1), np.arange(30.0), lambda creators: np.ones(len(creators), int))
    stage = replace(stage, fallback=(TopK(),))
    reason = object()
    outcome = stage.run(Request(1, 4, request_id="r", view=view), candidates(range(9)), reason)
    assert outcome.candidates.ids.tolist() == [0, 1, 2, 3]
