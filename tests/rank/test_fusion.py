"""Fusion against hand-computed values."""

import numpy as np
import pytest

from karec.rank.fusion import Fusion

TASKS = ("click", "like")
LOGITS = np.array([[0.0, 0.0], [np.log(3.0), -np.log(3.0)]], np.float32)  # probabilities .5 .5 and .75 .25


def test_sum_is_the_weighted_mean_of_probabilities():
    fused = Fusion({"click": 3.0, "like": 1.0})(LOGITS, TASKS)
    np.testing.assert_allclose(fused, [0.5, (3 * 0.75 + 0.25) / 4], rtol=1e-6)
    assert fused.dtype == np.float32


def test_product_is_the_weighted_geometric_mean():
    fused = Fusion({"click": 1.0, "like": 1.0}, "product")(LOGITS, TASKS)
    np.testing.assert_allclose(fused, [0.5, np.sqrt(0.75 * 0.25)], rtol=1e-4)


@pytest.mark.parametrize("kind", ["sum", "product"])
def test_whole_numbers_are_weights_as_floats_are(kind):
    np.testing.assert_array_equal(
        Fusion({"click": 1, "like": 3}, kind)(LOGITS, TASKS), Fusion({"click": 1.0, "like": 3.0}, kind)(LOGITS, TASKS)
    )


def test_a_task_without_weight_does_not_count():
    np.testing.assert_allclose(Fusion({"like": 2.0})(LOGITS, TASKS), [0.5, 0.25], rtol=1e-6)


def test_extreme_logits_stay_in_the_unit_interval():
    fused = Fusion({"click": 1.0}, "product")(np.array([[1e9, 0], [-1e9, 0]], np.float32), TASKS)
    assert np.isfinite(fused).all()
    assert fused[0] > fused[1] >= 0


@pytest.mark.parametrize("weights", [{}, {"click": float("nan")}, {"click": 0.0}, {"click": -1.0, "like": 2.0}])
def test_weights_must_be_a_share(weights):
    with pytest.raises(ValueError, match="weights"):
        Fusion(weights)


def test_a_task_that_the_ranker_does_not_predict_is_named():
    with pytest.raises(ValueError, match=r"\['gift'\].*predicts \['click', 'like'\]"):
        Fusion({"gift": 1.0})(LOGITS, TASKS)
