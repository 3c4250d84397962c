"""Logistic regression within matched sets, by pairs, with draws over users.

Each set has an intercept of its own, which no pair needs to know: of a positive row a and a negative row b of
one set, P(a is the positive one) = σ(β·(x_a − x_b)). β maximises Σ over pairs of log σ(β·(x_a − x_b)) / (rows
of the set).

Cost     that of logistic.py for M pairs; rows of a set are in pieces of at most 32, so M ≤ 8 N for N rows.
Sources  N. Breslow et al., Estimation of multiple relative risk functions in matched case-control studies,
American
         Journal of Epidemiology 108 (1978), for a set's conditional likelihood; K.-Y. Liang, Extended
         Mantel-Haenszel estimating procedure for multivariate logistic regression models, Biometrics 43
         (1987), for that of its pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from karec.evaluate.measures.accuracy import UserBootstrap
from karec.evaluate.measures.logistic import maximise
from karec.types import Array

PIECE = 32


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of rows of one set: ``positive`` and ``negative (M,)`` rows, ``weight (M,)`` 1 / rows of their
    piece; ``rows``, those that stand in a pair, each once.
    """

    positive: Array
    negative: Array
    weight: Array
    rows: Array


def pairs_of(y: Array, of: Array, rows: Array) -> Pairs:
    """All pairs of a positive and a negative of one set, among ``rows`` (R,) of ``y (N,)`` 0/1 and ``of
    (N,)`` the set of each; rows of a set stay in their order, and are cut into pieces of at most 32. O(R log
    R + M).
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
    """(β (p,), draws (resamples, p)) of ``columns``, p arrays (N,); ``bootstrap`` is over the users of the N
    rows.

    ValueError without a pair. A column that does not vary within sets has coefficient 0.
    """
    if not len(pairs.weight):
        raise ValueError("no set has both a positive and a negative row")
    x = np.stack([column[pairs.positive] - column[pairs.negative] for column in columns], axis=1)
    return maximise(x, np.ones(len(x)), pairs.weight, pairs.positive, bootstrap, intercept=False)
