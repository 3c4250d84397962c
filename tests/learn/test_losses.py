"""The distillation loss against values computed by hand."""

import math

import pytest
import torch

from karec.learn.losses import distillation_loss, soft_label_loss


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_soft_labels_by_hand():
    """σ(2/2) = 0.731059 against σ(0) = 0.5: KL = 0.110944, and T² = 4 times that."""
    loss = soft_label_loss(torch.tensor([0.0]), torch.tensor([2.0]), 2.0)
    assert loss.item() == pytest.approx(4 * 0.110944, abs=4e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("s", "t"), [(0.3, -1.2), (-2.0, 2.0), (1.5, 1.5), (-6.0, 5.0)])
def test_soft_labels_are_a_divergence_at_a_temperature(s, t, temperature):
    loss = soft_label_loss(torch.tensor(s), torch.tensor(t), temperature)
    expected = temperature**2 * kl(sigmoid(t / temperature), sigmoid(s / temperature))
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_far_logits_stay_finite():
    far = torch.tensor([80.0, -80.0])
    assert torch.isfinite(soft_label_loss(far, -far, 1.0)).all()
    assert soft_label_loss(far, far, 1.0).abs().max() < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_the_gradient_keeps_its_size(temperature):
    """d/ds of T²·KL is T·(σ(s/T) − σ(t/T)), about (s − t)/4 for small logits whatever T."""
    s = torch.tensor(0.01, requires_grad=True)
    soft_label_loss(s, torch.tensor(-0.01), temperature).backward()
    assert s.grad.item() == pytest.approx(0.02 / 4, rel=1e-3)


def test_the_mixture_by_hand():
    """Two rows, two tasks; the log does not know the second row, which learns from its hard label alone."""
    s, y = [[0.5, -1.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]
    t = [[1.0, -2.0], [9.0, 9.0]]

    def bce(logit, label):
        return -math.log(sigmoid(logit) if label else 1 - sigmoid(logit))

    first = sum(
        0.7 * bce(s[0][task], y[0][task]) + 0.3 * 4 * kl(sigmoid(t[0][task] / 2), sigmoid(s[0][task] / 2))
        for task in range(2)
    )
    second = sum(bce(s[1][task], y[1][task]) for task in range(2))
    loss = distillation_loss(
        *(torch.tensor(value) for value in (s, y, t)),
        torch.tensor([True, False]),
        soft_weight=0.3,
        temperature=2.0,
    )
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)
