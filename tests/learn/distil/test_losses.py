"""Tests each loss against values computed by hand."""

import math

import pytest
import torch

from karec.learn.distil.losses import (
    contrastive_loss,
    distillation_loss,
    library_loss,
    list_loss,
    play_time_loss,
    soft_label_loss,
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("s", "t"), [(0.3, -1.2), (-2.0, 2.0), (1.5, 1.5), (-6.0, 5.0)])
def test_soft_label_loss_equals_float64_at_each_temperature(s, t, temperature):
    loss = soft_label_loss(torch.tensor(s), torch.tensor(t), temperature)
    expected = temperature**2 * kl(sigmoid(t / temperature), sigmoid(s / temperature))
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_soft_label_loss_is_finite_for_extreme_logits():
    far = torch.tensor([80.0, -80.0])
    assert torch.isfinite(soft_label_loss(far, -far, 1.0)).all()
    assert soft_label_loss(far, far, 1.0).abs().max() < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_soft_label_gradient_does_not_depend_on_temperature(temperature):
    """d/ds of T²·KL is T·(σ(s/T) − σ(t/T)), about (s − t)/4 for small logits whatever T."""
    s = torch.tensor(0.01, requires_grad=True)
    soft_label_loss(s, torch.tensor(-0.01), temperature).backward()
    assert s.grad.item() == pytest.approx(0.02 / 4, rel=1e-3)


def test_distillation_loss_uses_hard_labels_if_the_log_lacks_a_row():
    """Two rows, two tasks; the log lacks the second row."""
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


def softplus(x):
    return math.log(1 + math.exp(x))


@pytest.mark.parametrize("known", [True, False])
def test_distillation_loss_equals_hard_loss_if_soft_weight_is_0(known):
    """−ln σ(1) = 0.313262 and −ln(1 − σ(−2)) = 0.126928, the second task weighed twice; one row."""
    s, y, t = (torch.tensor([values]) for values in ([1.0, -2.0], [1.0, 0.0], [3.0, 4.0]))
    weights = torch.tensor([1.0, 2.0])
    loss = distillation_loss(
        s, y, t, torch.tensor([known]), soft_weight=0.0, temperature=4.0, weights=weights
    )
    assert loss.item() == pytest.approx(0.313262 + 2 * 0.126928, abs=2e-6)


def test_list_loss_is_the_cross_entropy_of_two_softmaxes():
    """τ = 2: softmax(2/2, 0/2) = (0.731059, 0.268941), log softmax(0, ln 9 / 2) = (−ln 4, −ln(4/3))."""
    s = torch.tensor([[0.0, math.log(9.0)]])
    loss = list_loss(s, torch.tensor([[2.0, 0.0]]), 2.0)
    assert loss.item() == pytest.approx(0.731059 * math.log(4) + 0.268941 * math.log(4 / 3), rel=1e-5)


def test_contrastive_loss_subtracts_log_q_and_skips_repeated_own_items():
    """One user, three candidates: the own item at cosine 1, one at 0, the own item again (not a negative); τ
    = 0.5.

    Corrected logits 1/0.5 − ln 0.5 and 0 − ln 0.25: softmax of (2 + ln 2, ln 4) at the first.
    """
    users, works = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    log_q = torch.log(torch.tensor([0.5, 0.25, 0.5]))
    loss = contrastive_loss(users, works, torch.tensor([0]), torch.tensor([7, 8, 7]), log_q, 0.5)
    own, other = 2 * math.exp(2), 4.0
    assert loss.item() == pytest.approx(-math.log(own / (own + other)), rel=1e-5)


def test_play_time_loss_counts_units_as_positives_and_rows_as_negatives():
    loss = play_time_loss(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 0.0]))
    assert loss.item() == pytest.approx((4 * math.log(2) + softplus(1.0)) / 2, rel=1e-6)


def test_play_time_loss_is_smallest_if_odds_equal_the_mean():
    """The loss of rows played 0, 2 and 7 units is smallest at e^s = 3."""
    played = torch.tensor([0.0, 2.0, 7.0])
    s = torch.full((3,), math.log(3.0), requires_grad=True)
    play_time_loss(s, played).backward()
    assert s.grad.sum().item() == pytest.approx(0.0, abs=1e-6)


def test_library_loss_contrasts_each_item_with_the_scaled_sum_of_sampled_items():
    """The first user has two items, the second one; two sampled items stand for eight items."""
    users, sampled = torch.eye(2), torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    own = torch.tensor([[0.9, 0.3], [0.0, 1.0]])  # the first user's items are (1, 0) and (0.8, 0.6)
    loss = library_loss(users, own, sampled, n_items=8, temperature=0.5)

    def item(score, sampled_scores):
        return -math.log(math.exp(score / 0.5) / (4 * sum(math.exp(other / 0.5) for other in sampled_scores)))

    expected = ((item(1.0, [0.6, 1.0]) + item(0.8, [0.6, 1.0])) / 2 + item(1.0, [0.8, 0.0])) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
