"""Platt calibration of logits or scores: s → a·s + b per task, a > 0, fitted on held-out rows.

Source  J. Platt, Probabilistic outputs for support vector machines, 1999; C. Guo et al., ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ITERATIONS = 50


def fit_calibration(
    logits: NDArray[Any], labels: NDArray[Any], heads: Sequence[int] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (a (T,), b (T,)) float32 that minimize the cross-entropy of a·s + b, by Newton's method.

    A column keeps a = 1, b = 0 if it is not in ``heads``, if its labels are of one class, or if the best a is
    not positive.

    Args
      logits   (N, T)
      labels   (N, T), in [0, 1]
      heads    columns to calibrate; None: all
    """
    n_tasks = logits.shape[1]
    scale, bias = np.ones(n_tasks, np.float32), np.zeros(n_tasks, np.float32)
    for task in range(n_tasks) if heads is None else heads:
        s, y = logits[:, task].astype(np.float64), labels[:, task].astype(np.float64)
        if len(y) == 0 or y.min() == y.max() or s.std() == 0:
            continue
        mean, spread = s.mean(), s.std()
        x = np.stack([(s - mean) / spread, np.ones_like(s)], axis=1)
        rate = y.mean()
        w = np.array([0.0, np.log(rate / (1 - rate))])
        for _ in range(MAX_ITERATIONS):
            p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -60, 60)))
            curvature = x.T @ (x * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
            step = np.linalg.solve(curvature, x.T @ (y - p))
            w = w + step / max(1.0, float(np.abs(step).max()) / 4.0)
            if np.abs(step).max() < 1e-10:
                break
        a = w[0] / spread
        if a > 0:
            scale[task], bias[task] = a, w[1] - a * mean
    return scale, bias
