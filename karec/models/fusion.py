"""Fuses the logits of several objectives into one score.

sum      score = Σ_t w_t·p_t / Σ_t w_t            mean of probabilities, in [0, 1]
product  score = Π_t (ε + p_t)^{w_t / Σ w}        weighted geometric mean, low if one probability is low

p_t is σ of the logit. The logit of play_time is the log of the expected play time t in units of 10 s, so that
its p is t / (1 + t): it grows with t, and a long play does not outweigh other objectives.

The native library computes the scores (``native/src/stages/fusion.hpp``): the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec import _native


@dataclass(frozen=True)
class ObjectiveWeights:
    """Weights ≥ 0 by task. A task without a weight does not count."""

    weights: Mapping[str, float]
    kind: Literal["sum", "product"] = "sum"

    def __post_init__(self) -> None:
        w = np.array(list(self.weights.values()), np.float64)
        if not len(w) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
            raise ValueError(f"fusion weights must be ≥ 0 with a positive sum, got {dict(self.weights)}")
        if self.kind not in ("sum", "product"):
            raise ValueError(f"fusion kind must be 'sum' or 'product', got {self.kind!r}")

    def __call__(self, logits: NDArray[Any], tasks: Sequence[str]) -> NDArray[Any]:
        """Returns (N,) float32 scores in [0, 1] of ``logits`` (N, T), in the order of ``tasks``."""
        return self.fuse(logits, self.normalise(tasks))

    def normalise(self, tasks: Sequence[str]) -> NDArray[Any]:
        """Returns (T,) float64, the weights of ``tasks`` with sum 1.

        Raises ValueError for the weight of a task that is not in ``tasks``.
        """
        unknown = sorted(set(self.weights) - set(tasks))
        if unknown:
            raise ValueError(
                f"fusion weighs {unknown}, which the ranker does not predict; it predicts {list(tasks)}"
            )
        w = np.array([self.weights.get(task, 0.0) for task in tasks], np.float64)
        return np.asarray(w / w.sum())

    def fuse(self, logits: NDArray[Any], normalised: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) float32 scores of ``logits`` (N, T). ``normalised`` (T,) is the result of
        ``normalise``."""
        return _native.fuse_logits(logits, normalised, self.kind == "product")
