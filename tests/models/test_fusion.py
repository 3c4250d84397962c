"""Fusion against the equations in plain Python, and against values computed by hand."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.models.fusion import ObjectiveWeights

TASKS = ("click", "like")
EPSILON = 1e-6
LOGITS = np.array([[0.0, 0.0], [np.log(3.0), -np.log(3.0)]], np.float32)  # probabilities .5 .5 and .75 .25


def plain_fusion(logits, weights, kind):
    """Returns the fused score of one item. ``logits`` and ``weights`` have the same order."""
    p = [1 / (1 + math.exp(-min(max(logit, -60.0), 60.0))) for logit in logits]
    total = sum(weights)
    if kind == "sum":
        return sum(w * x for w, x in zip(weights, p, strict=True)) / total
    return math.prod((1e-6 + x) ** (w / total) for w, x in zip(weights, p, strict=True))


@given(
    st.lists(st.tuples(*[st.floats(-80, 80, width=32)] * 3), min_size=1, max_size=5),
    st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any),
    st.sampled_from(["sum", "product"]),
    st.booleans(),
)
def test_fusion_is_weighted_arithmetic_or_geometric_mean(logits, weights, kind, named):
    """A weight of 0 is that of a task which is not named."""
    tasks = ("click", "like", "share")
    given = {task: w for task, w in zip(tasks, weights, strict=True) if w or named}
    fused = ObjectiveWeights(given, kind)(np.array(logits, np.float32), tasks)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, [plain_fusion(row, weights, kind) for row in logits], rtol=2e-7)


def test_fusion_kind_is_sum_by_default():
    fused = ObjectiveWeights({"click": 3.0, "like": 1.0})(LOGITS, TASKS)
    np.testing.assert_allclose(fused, [0.5, (3 * 0.75 + 0.25) / 4], rtol=1e-6)
    assert ObjectiveWeights({"click": 1.0}).kind == "sum"


@pytest.mark.parametrize("kind", ["sum", "product"])
def test_fusion_accepts_integer_weights(kind):
    np.testing.assert_array_equal(
        ObjectiveWeights({"click": 1, "like": 3}, kind)(LOGITS, TASKS),
        ObjectiveWeights({"click": 1.0, "like": 3.0}, kind)(LOGITS, TASKS),
    )


@pytest.mark.parametrize(("kind", "least"), [("sum", 1 / (1 + math.exp(60))), ("product", EPSILON)])
def test_fusion_clips_logits_at_60(kind, least):
    """exp(1e9) is infinite. With a limit of 60, probabilities are finite and above 0."""
    fused = ObjectiveWeights({"click": 1.0}, kind)(np.array([[1e9, 0], [-1e9, 0]], np.float32), TASKS)
    np.testing.assert_allclose(fused, [1.0 + (kind == "product") * EPSILON, least], rtol=1e-6)


@pytest.mark.parametrize(
    "weights",
    [{}, {"click": float("nan")}, {"click": float("inf")}, {"click": 0.0}, {"click": -1.0, "like": 2.0}],
)
def test_fusion_refuses_weights_without_a_positive_sum(weights):
    message = f"fusion weights must be ≥ 0 with a positive sum, got {weights}"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        ObjectiveWeights(weights)


def test_fusion_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match=r"^fusion kind must be 'sum' or 'product', got 'mean'$"):
        ObjectiveWeights({"click": 1.0}, "mean")


def test_fusion_names_tasks_that_the_ranker_does_not_predict():
    message = (
        "fusion weighs ['gift', 'tip'], which the ranker does not predict; it predicts ['click', 'like']"
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        ObjectiveWeights({"tip": 1.0, "click": 1.0, "gift": 1.0})(LOGITS, TASKS)
