"""Logistic regression with draws over users.

P(y = 1) = σ(b + β·x). b and β maximise the likelihood of the rows, by Newton's method. A draw of users is β +
I⁻¹ · (the slope, summed over the rows of the users drawn), I the information of all rows.

Cost     O(N·p²) an iteration for N rows and p columns, O(p·(N + draws·users)) for the draws.
Sources  P. Kline, A. Santos, A score based approach to wild bootstrap inference, Journal of Econometric
Methods 1
         (2012), for draws by slopes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.evaluate.measures.accuracy import UserBootstrap
from karec.types import Array

STEPS = 30
CLOSE = 1e-8
RIDGE = 1e-6  # of the information's diagonal: a column that does not vary has coefficient 0


def fit_logistic(
    y: Array, rows: Array, columns: Sequence[Array], bootstrap: UserBootstrap
) -> tuple[Array, Array]:
    """(β (p,), draws (resamples, p)) of ``columns``, p arrays (N,), from ``rows (R,)`` of ``y (N,)`` 0/1;
    ``bootstrap`` is over the users of the N rows.
    """
    x = np.stack([np.asarray(column[rows], np.float64) for column in columns], axis=1)
    x -= x.mean(axis=0)
    return maximise(x, np.asarray(y[rows], np.float64), np.ones(len(rows)), rows, bootstrap, intercept=True)


def maximise(
    x: Array, y: Array, weight: Array, rows: Array, bootstrap: UserBootstrap, *, intercept: bool
) -> tuple[Array, Array]:
    """(β (p,), draws (resamples, p)) of the M terms ``weight``·log P(``y``) of ``x (M, p)``, which is
    overwritten; term i is of the user of row ``rows[i]``.
    """
    scale = np.maximum(np.sqrt(np.average(x**2, axis=0, weights=weight)), 1e-12)
    x /= scale
    if intercept:
        x, scale = np.column_stack([x, np.ones(len(x))]), np.append(scale, 1.0)
    beta = np.zeros(x.shape[1])
    for _ in range(STEPS):
        wrong, curvature = _slope(x, y, weight, beta)
        step = np.linalg.solve(curvature, x.T @ wrong)
        beta += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < CLOSE:
            break
    wrong, curvature = _slope(x, y, weight, beta)
    slopes = bootstrap.sums((wrong * column for column in x.T), rows)
    found = beta / scale, (beta + np.linalg.solve(curvature, slopes.T).T) / scale
    n = len(beta) - intercept
    return found[0][:n], found[1][:, :n]


def _slope(x: Array, y: Array, weight: Array, beta: Array) -> tuple[Array, Array]:
    """(weight · (y − σ) of each term (M,), the information (p, p))."""
    chance = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -60, 60)))
    information = x.T @ ((weight * chance * (1.0 - chance))[:, None] * x)
    return weight * (y - chance), information + RIDGE * weight.sum() * np.eye(len(beta))
