"""How far one training is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows: their mean loss, and the score on validation (higher is better)."""

    loss: float
    score: float


@dataclass
class FitState:
    """All that a training goes on from, but the model, the optimizer and the generators. The loop moves
    it."""

    epoch: int = 0
    step: int = 0  # of the epoch
    total: float = 0.0  # sum of loss times rows, in the epoch
    first: float = 0.0  # sum of the first steps' losses
    history: list[Epoch] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step of the training, loss)
    best: float = -math.inf
    done: bool = False

    @property
    def stale(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - 1 - max(range(len(self.history)), key=lambda at: self.history[at].score)
