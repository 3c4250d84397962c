"""Tests of the calibration of logits."""

import numpy as np
import pytest
import torch

from karec.evaluate.metrics.accuracy import auc, ece
from karec.evaluate.metrics.platt import fit_calibration
from karec.learn.nets.calibration import Calibrated


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_calibration_inverts_an_affine_map_and_keeps_order():
    generator = np.random.default_rng(0)
    true = generator.normal(-1, 1.5, (40_000, 2))
    labels = (generator.random(true.shape) < sigmoid(true)).astype(np.float32)
    wrong = np.stack([3 * true[:, 0] - 2, 0.2 * true[:, 1] + 4], axis=1)
    scale, bias = fit_calibration(wrong, labels)
    np.testing.assert_allclose(scale, [1 / 3, 5], rtol=0.05)
    np.testing.assert_allclose(bias, [2 / 3, -20], rtol=0.05)
    for task in range(2):
        right = scale[task] * wrong[:, task] + bias[task]
        assert ece(labels[:, task], sigmoid(right)) < 0.01 < ece(labels[:, task], sigmoid(wrong[:, task]))
        assert auc(labels[:, task], right) == pytest.approx(auc(labels[:, task], wrong[:, task]))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([0.0, 1.0, 2.0], [1, 1, 1]), ([0.0, 1.0, 2.0], [1, 0, 0]), ([1.0, 1.0, 1.0], [1, 0, 1])],
    ids=["one class", "upside down", "all the same"],
)
def test_calibration_is_identity_if_labels_or_logits_are_degenerate(logits, labels):
    scale, bias = fit_calibration(np.array([logits]).T, np.array([labels]).T)
    assert (scale[0], bias[0]) == (1.0, 0.0)


def test_calibrated_ranker_returns_scaled_and_shifted_logits():
    ranker = torch.nn.Module()
    ranker.forward = lambda inputs: inputs["x"]
    folded = Calibrated(ranker, np.array([2.0, 1.0], np.float32), np.array([0.0, -1.0], np.float32))
    assert folded({"x": torch.tensor([[1.0, 1.0]])}).tolist() == [[2.0, 0.0]]
