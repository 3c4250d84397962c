"""Several objectives, one score: the ranker's logits become probabilities, and probabilities one number to
sort by.

sum      fused = Σ_t w_t·p_t / Σ_t w_t            a mean of probabilities, in [0, 1]
product  fused = Π_t (ε + p_t)^{w_t / Σ w}        a weighted geometric mean: a work must please on every count

p_t is σ of the logit. The logit of play_time is the log of the expected play time t, in units of 10 s, so
that its p is t / (1 + t): it grows with t, and a long play outweighs no other objective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-6


@dataclass(frozen=True)
class ObjectiveWeights:
    """Weights by task; a task without a weight does not count."""

    weights: Mapping[str, float]
    kind: Literal["sum", "product"] = "sum"

    def __post_init__(self) -> None:
        w = np.array(list(self.weights.values()), np.float64)
        if not len(w) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
            raise ValueError(f"fusion weights must be ≥ 0 with a positive sum, got {dict(self.weights)}")
        if self.kind not in ("sum", "product"):
            raise ValueError(f"fusion kind must be 'sum' or 'product', got {self.kind!r}")

    def __call__(self, logits: NDArray[Any], tasks: Sequence[str]) -> NDArray[Any]:
        """``logits (N, T)`` in the order of ``tasks`` → fused score (N,) float32 in [0, 1]."""
        return self.fused(logits, self.shares(tasks))

    def shares(self, tasks: Sequence[str]) -> NDArray[Any]:
        """(T,) float64: what each of ``tasks`` weighs, of 1. ValueError for a weight of another task."""
        unknown = sorted(set(self.weights) - set(tasks))
        if unknown:
            raise ValueError(
                f"fusion weighs {unknown}, which the ranker does not predict; it predicts {list(tasks)}"
            )
        w = np.array([self.weights.get(task, 0.0) for task in tasks], np.float64)
        return np.asarray(w / w.sum())

    def fused(self, logits: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
        """As a call, with the ``shares (T,)`` of the tasks."""
        p = 1.0 / (1.0 + np.exp(-np.clip(np.asarray(logits, np.float64), -60, 60)))
        fused = p @ shares if self.kind == "sum" else np.exp(np.log(p + EPSILON) @ shares)
        return np.asarray(fused, np.float32)
