"""Losses of the towers, and of play time. Each is a mean over rows or lists; its weight in the settings
switches it on.

    hard       BCE(y, s)                                labels of what users did
    soft       T²·KL(σ(t/T) ‖ σ(s/T))                   the ranker's logits; T² keeps the gradient's size
    list       CE(softmax(t/τ), softmax(s/τ))           the ranker's logits of a whole logged list
    contrast   CE over (own work, the batch's others, works of the library), logits less log Q
    play time  t·softplus(−s) + softplus(s)             least where e^s = E[t]

t the logits of the teacher (the ranker), s the student's (the towers'), y labels.
Sources  G. Hinton et al., Distilling the knowledge in a neural network, 2015 (Bernoulli case); Z. Cao et al.,
         Learning to rank: from pairwise approach to listwise approach, ICML 2007; X. Yi et al.,
         Sampling-bias-corrected neural modeling, RecSys 2019, and J. Yang et al., Mixed negative sampling,
         WWW 2020 (log Q); P. Covington et al., RecSys 2016 (weighted logistic regression; each row is a
         negative once, so that the odds are E[t] exactly).
"""

from __future__ import annotations

from karec.learn._torch import Tensor, functional, torch


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(σ(t/T) ‖ σ(s/T)), elementwise, for logits ``student`` and ``teacher`` of one shape."""
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
    """Mean over rows of Σ_head w·[(1 − λ)·hard + λ·soft]: ``student, labels, teacher (B, H)``, ``known (B,)
    bool``.

    A row that the rank log lacks (``known`` false) learns from its hard label alone.
    """
    hard = functional.binary_cross_entropy_with_logits(student, labels, reduction="none")
    soft = soft_label_loss(student, teacher, temperature)
    share = soft_weight * known.unsqueeze(1)
    loss = (1 - share) * hard + share * soft
    return (loss if weights is None else loss * weights).sum(dim=1).mean()


def list_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean over lists of CE(softmax(t/τ), softmax(s/τ)): ``student, teacher (L, N)``, N works a list."""
    target = torch.softmax(teacher / temperature, dim=1)
    return -(target * torch.log_softmax(student / temperature, dim=1)).sum(dim=1).mean()


def contrastive_loss(
    users: Tensor,
    works: Tensor,
    own: Tensor,
    ids: Tensor,
    log_q: Tensor,
    temperature: float,
) -> Tensor:
    """Mean over users of −log softmax(⟨u, v⟩/τ − log Q) at each user's own work.

    ``users (P, D)`` and ``works (C, D)`` of unit length; ``own (P,)`` the position of a user's work among the
    C candidates; ``ids (C,)`` the works, so that the user's own work, drawn again, is no negative. ``log_q
    (C,)``: log of the count expected of a work among the candidates, without which popular works would be
    pushed down for being drawn often.
    """
    logits = users @ works.T / temperature - log_q
    again = ids.unsqueeze(0) == ids[own].unsqueeze(1)
    again.scatter_(1, own.unsqueeze(1), False)
    return functional.cross_entropy(logits.masked_fill(again, -1e9), own)


def play_time_loss(logit: Tensor, played: Tensor) -> Tensor:
    """Mean of t·softplus(−s) + softplus(s): ``logit, played`` of one shape, played ≥ 0 in any unit; e^s
    learns it."""
    return (played * functional.softplus(-logit) + functional.softplus(logit)).mean()
