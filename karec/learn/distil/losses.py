"""Losses of the towers, and of play time. Each is a mean over rows or lists; a weight of 0 switches it off.

    hard       BCE(y, s)                                labels of user feedback
    soft       T²·KL(σ(t/T) ‖ σ(s/T))                   the ranker's logits; T² keeps the size of the gradient
    list       CE(softmax(t/τ), softmax(s/τ))           the ranker's logits of a whole logged list
    contrast   CE over (own item, other items of the batch, sampled items), logits minus log Q
    library    log Z − s, Z estimated from sampled items       each of a user's items
    play time  t·softplus(−s) + softplus(s)             smallest at e^s = E[t]

t: logits of the teacher (the ranker), s: of the student (the towers), y: labels.
Sources  G. Hinton et al., Distilling the knowledge in a neural network, 2015 (Bernoulli case); Z. Cao et al.,
         Learning to rank: from pairwise approach to listwise approach, ICML 2007; X. Yi et al.,
         Sampling-bias-corrected neural modeling, RecSys 2019, and J. Yang et al., Mixed negative sampling,
         WWW 2020 (log Q); P. Covington et al., RecSys 2016 (weighted logistic regression; each row is a
         negative once, so that the odds are E[t] exactly).
"""

from __future__ import annotations

import math

from karec.learn._torch import Tensor, functional, torch


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Returns T²·KL(σ(t/T) ‖ σ(s/T)), elementwise, for logits ``student`` and ``teacher`` of one shape."""
    s, t = student / temperature, teacher / temperature
    p = torch.sigmoid(t)
    kl = p * (functional.logsigmoid(t) - functional.logsigmoid(s))
    kl = kl + (1 - p) * (functional.logsigmoid(-t) - functional.logsigmoid(-s))
    return temperature**2 * kl


def distillation_loss(
    student: Tensor,
    labels: Tensor,
    teacher: Tensor,
    known: Tensor,
    *,
    soft_weight: float,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Returns the mean over rows of Σ_head w·[(1 − λ)·hard + λ·soft]; ``student, labels, teacher``: (B, H).

    Rows with ``known (B,) bool`` False are not in the rank log and use only their hard label.
    """
    hard = functional.binary_cross_entropy_with_logits(student, labels, reduction="none")
    soft = soft_label_loss(student, teacher, temperature)
    soft_fraction = soft_weight * known.unsqueeze(1)
    loss = (1 - soft_fraction) * hard + soft_fraction * soft
    return (loss if weights is None else loss * weights).sum(dim=1).mean()


def list_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Returns the mean over lists of CE(softmax(t/τ), softmax(s/τ)) for (L, N) logits."""
    target = torch.softmax(teacher / temperature, dim=1)
    return -(target * torch.log_softmax(student / temperature, dim=1)).sum(dim=1).mean()


def contrastive_loss(
    users: Tensor,
    items: Tensor,
    own: Tensor,
    ids: Tensor,
    log_q: Tensor,
    temperature: float,
) -> Tensor:
    """Returns the mean over users of −log softmax(⟨u, v⟩/τ − log Q) at each user's own item.

    Args
      users   (P, D), unit length
      items   (C, D), unit length: the candidates
      own     (P,) index of each user's own item among the candidates
      ids     (C,) ids of the candidates; a repeated own item is not a negative
      log_q   (C,) log of an item's expected count among the candidates; without it popular items get too low
              scores
    """
    logits = users @ items.T / temperature - log_q
    is_repeat = ids.unsqueeze(0) == ids[own].unsqueeze(1)
    is_repeat.scatter_(1, own.unsqueeze(1), False)
    return functional.cross_entropy(logits.masked_fill(is_repeat, -1e9), own)


def library_loss(
    users: Tensor,
    own: Tensor,
    sampled: Tensor,
    *,
    n_items: int,
    temperature: float,
) -> Tensor:
    """Returns the mean over users of the mean over their items of −log softmax(⟨u, v⟩/τ) over all items.

    Args
      users     (U, D), unit length
      own       (U, D): the mean vector of each user's items
      sampled   (N, D), unit length: items sampled uniformly from ``n_items``, which estimate the denominator
    """
    log_z = torch.logsumexp(users @ sampled.T / temperature, dim=1) + math.log(n_items / len(sampled))
    return (log_z - (users * own).sum(dim=1) / temperature).mean()


def play_time_loss(logit: Tensor, played: Tensor) -> Tensor:
    """Returns the mean of t·softplus(−s) + softplus(s); e^s learns ``played`` ≥ 0, in any unit."""
    return (played * functional.softplus(-logit) + functional.softplus(logit)).mean()
