"""Training targets of the towers: labels of user feedback, and the ranker's logits from its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.learn._torch import Tensor, torch
from karec.samples.lists import LoggedLists
from karec.samples.soft_labels import SoftLabels

EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class Targets:
    """The ranker's logits, fused head first.

    rows    (M, 1 + T) of the training rows
    known   (M,) bool: the log has the row
    lists   (L, N, 1 + T) of the logged lists; L is 0 without lists
    """

    rows: NDArray[Any]
    known: NDArray[Any]
    lists: NDArray[Any]

    @classmethod
    def from_logs(cls, soft: SoftLabels, lists: LoggedLists | None) -> Targets:
        rows = np.concatenate([_logit(soft.fused)[:, None], soft.logits], axis=1)
        if lists is None:
            return cls(rows, soft.known, np.empty((0, 2, rows.shape[1]), np.float32))
        return cls(rows, soft.known, np.concatenate([_logit(lists.fused)[..., None], lists.logits], axis=2))


def fused_labels(labels: Tensor, tasks: Sequence[str], fusion: Mapping[str, float]) -> Tensor:
    """Returns (M,) hard labels of the fused head: Σ w·y / Σ w over ``labels (M, T)``."""
    w = torch.tensor([fusion.get(task, 0.0) for task in tasks], device=labels.device)
    return labels @ (w / w.sum().clamp(min=EPSILON))


def _logit(p: NDArray[Any]) -> NDArray[Any]:
    clipped = np.clip(np.asarray(p, np.float64), EPSILON, 1 - EPSILON)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float32)
