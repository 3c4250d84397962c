"""What the towers are taught with: what users did (hard labels) and what the ranker thought of it (soft labels).

    L = (1 − λ)·BCE(y, s) + λ·T²·KL(σ(t/T) ‖ σ(s/T))

t the ranker's logits, s the student's, T the temperature. T² keeps the gradient's size when T grows.
Source  G. Hinton et al., Distilling the knowledge in a neural network, 2015, for the Bernoulli case.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(σ(t/T) ‖ σ(s/T)), elementwise, for logits ``student`` and ``teacher`` of one shape."""
    s, t = student / temperature, teacher / temperature
    p = torch.sigmoid(t)
    kl = p * (functional.logsigmoid(t) - functional.logsigmoid(s))
    kl = kl + (1 - p) * (functional.logsigmoid(-t) - functional.logsigmoid(-s))
    return temperature**2 * kl


def distillation_loss(
    student: Tensor, labels: Tensor, teacher: Tensor, known: Tensor, *, soft_weight: float, temperature: float
) -> Tensor:
    """Mean over rows of the sum over tasks: ``student``, ``labels``, ``teacher`` (B, T), ``known`` (B,) bool.

    A row that the ranker's log does not know learns from its hard label alone.
    """
    hard = functional.binary_cross_entropy_with_logits(student, labels, reduction="none")
    soft = soft_label_loss(student, teacher, temperature)
    share = soft_weight * known.unsqueeze(1)
    return ((1 - share) * hard + share * soft).sum(dim=1).mean()
