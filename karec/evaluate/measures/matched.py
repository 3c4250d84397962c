"""Logistic regression within matched sets, by pairs, with draws over users.

Each set has an intercept of its own, which no pair needs to know: of a positive row a and a negative row b of one set,
P(a is the positive one) = σ(β·(x_a − x_b)). β maximises Σ over pairs of log σ(β·(x_a − x_b)) / (rows of the set), by
Newton's method. A draw of users takes one Newton step from β, with the sums of the users it drew.

Cost     O(M·p²) an iteration for M pairs and p columns; rows of a set are in pieces of at most 32, so M ≤ 8 N.
Sources  N. Breslow et al., Estimation of multiple relative risk functions in matched case-control studies, American
         Journal of Epidemiology 108 (1978), for a set's conditional likelihood; K.-Y. Liang, Extended Mantel-Haenszel
         estimating procedure for multivariate logistic regression models, Biometrics 43 (1987), for that of its pairs.
         R. Davidson, J. MacKinnon, Bootstrap testing in nonlinear models, International Economic Review 40 (1999), for
         draws of one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from karec.evaluate.measures.accuracy import UserBootstrap
from karec.types import Array

PIECE = 32
STEPS = 30
CLOSE = 1e-8
RIDGE = 1e-6  # of the information's diagonal: where a column does not vary, its coefficient stays 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of rows of one set: ``positive`` and ``negative (M,)`` rows, ``weight (M,)`` 1 / rows of their piece;
    ``rows``, those that stand in a pair, each once.
    """

    positive: Array
    negative: Array
    weight: Array
    rows: Array


def pairs_of(y: Array, of: Array, rows: Array) -> Pairs:
    """All pairs of a positive and a negative of one set, among ``rows`` (R,) of ``y (N,)`` 0/1 and ``of (N,)`` the set
    of each; rows of a set stay in their order, and are cut into pieces of at most 32. O(R log R + M).
    """
    rows = rows[np.argsort(of[rows], kind="stable")]
    sets, taken = of[rows], y[rows] > 0
    begins = np.flatnonzero(np.r_[True, sets[1:] != sets[:-1]]) if len(rows) else np.empty(0, np.int64)
    place = np.arange(len(rows)) - np.repeat(begins, np.diff(np.r_[begins, len(rows)]))
    first = place % PIECE == 0
    piece = np.cumsum(first) - 1
    n = np.bincount(piece)
    a, b = [], []
    for apart in range(1, int(n.max(initial=1))):  # rows of one piece that are so far apart, and differ
        at = np.flatnonzero((piece[apart:] == piece[:-apart]) & (taken[apart:] != taken[:-apart]))
        a.append(np.where(taken[at], at, at + apart))
        b.append(np.where(taken[at], at + apart, at))
    positive, negative = (np.concatenate(side) if side else np.empty(0, np.int64) for side in (a, b))
    in_a_pair = np.zeros(len(rows), bool)
    in_a_pair[positive] = in_a_pair[negative] = True
    return Pairs(rows[positive], rows[negative], 1.0 / n[piece[positive]], np.sort(rows[in_a_pair]))


def fit_matched(pairs: Pairs, columns: Sequence[Array], bootstrap: UserBootstrap) -> tuple[Array, Array]:
    """(β (p,), draws (resamples, p)) of ``columns``, p arrays (N,); ``bootstrap`` is over the users of the N rows.

    ValueError without a pair. A column that does not vary within sets has coefficient 0.
    """
    if not len(pairs.weight):
        raise ValueError("no set has both a positive and a negative row")
    x = np.stack([column[pairs.positive] - column[pairs.negative] for column in columns], axis=1).astype(np.float64)
    scale = np.maximum(np.sqrt(np.average(x**2, axis=0, weights=pairs.weight)), 1e-12)
    x /= scale
    beta = np.zeros(x.shape[1])
    ridge = RIDGE * pairs.weight.sum()
    for _ in range(STEPS):
        wrong, information = _at(x, pairs.weight, beta)
        step = np.linalg.solve(
            x.T @ (information[:, None] * x) + ridge * np.eye(len(beta)), x.T @ wrong - ridge * beta
        )
        beta += step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < CLOSE:
            break
    wrong, information = _at(x, pairs.weight, beta)
    upper = np.triu_indices(len(beta))
    score = bootstrap.sums((wrong * column for column in x.T), pairs.positive)
    parts = bootstrap.sums((information * x[:, i] * x[:, j] for i, j in zip(*upper, strict=True)), pairs.positive)
    curve = np.empty((len(score), len(beta), len(beta)))
    curve[:, upper[0], upper[1]] = curve[:, upper[1], upper[0]] = parts
    curve += ridge * np.eye(len(beta))
    draws = beta + np.linalg.solve(curve, (score - ridge * beta)[..., None])[..., 0]
    return beta / scale, np.asarray(draws / scale)


def _at(x: Array, weight: Array, beta: Array) -> tuple[Array, Array]:
    """(weight · (1 − σ), weight · σ(1 − σ)) of each pair."""
    chance = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -60, 60)))
    return weight * (1.0 - chance), weight * chance * (1.0 - chance)
