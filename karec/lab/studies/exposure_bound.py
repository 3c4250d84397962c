"""Lower bound of the relevance that exposure guarantees of groups cost, and the scores to measure it on.

Each user gets one page of k items. The relevance of pages is the sum of their scores. Group g gets at least
the fraction m_g of all impressions. The *loss* of pages is the fraction of the relevance of plain top-k pages
that they lack. For any prices λ_g ≥ 0

    D(λ) = Σ_users (sum of the k largest score + λ_group) − Σ_g λ_g · m_g · impressions

is at least the relevance of all pages that keep the guarantees, even of fractional and clairvoyant ones. So
1 − D(λ) / relevance of top-k is a lower bound of their loss for each λ. ``bound_loss`` looks for the best λ.

Sources: Lagrangian relaxation (Geoffrion 1974); the boxstep method (Marsten, Hogan, Blankenship 1975, "The
Boxstep method for large-scale optimization").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from karec.files import read_npz

TASTES = 8  # numbers of a taste vector
USERS_PER_BLOCK = 1_024  # scores in float64 at a time
MAX_STEPS = 200  # of the search; it needs about 30
PRECISION = 1e-3  # of the bound; the search stops when it can gain less


@dataclass(frozen=True, eq=False)
class ExposureProblem:
    """Pages of k items for each user, with guarantees of groups.

    scores  (U, I) float32, finite
    groups  (I,) integers, 0 … G − 1
    shares  (G,) float64: guaranteed fraction of the impressions of each group

    Raises ValueError for other values, and for guarantees that no pages keep.
    """

    scores: NDArray[np.float32]
    groups: NDArray[Any]
    shares: NDArray[np.float64]
    k: int

    def __post_init__(self) -> None:
        check_scores(self.scores, self.groups)
        n_items, sizes = self.scores.shape[1], np.bincount(self.groups)
        if not 1 <= self.k <= n_items:
            raise ValueError(
                f"k is {self.k}, expected 1 to {n_items}, the number of items. Choose a shorter page."
            )
        if self.shares.shape != sizes.shape or not np.all(self.shares >= 0):
            raise ValueError(
                f"guarantees: shape {self.shares.shape}, expected a number ≥ 0 for each of {len(sizes)} "
                "groups"
            )
        if self.shares.sum() > 1 + 1e-9:
            raise ValueError(
                f"guarantees add up to {self.shares.sum():g} of the impressions, expected at most 1. Lower "
                "them."
            )
        room = np.minimum(sizes, self.k) / self.k
        if np.any(self.shares > room + 1e-9):
            group = int(np.argmax(self.shares - room))
            raise ValueError(
                f"group {group} has {sizes[group]} items: they fill at most {room[group]:g} of pages of "
                f"{self.k} items, its guarantee is {self.shares[group]:g}. Lower it, or merge small groups."
            )
        if not self.best > 0:
            raise ValueError(f"the best {self.k} scores add up to {self.best:g}, expected more than 0")

    @cached_property
    def best(self) -> float:
        """The relevance of plain top-k pages."""
        return float(np.partition(self.scores, -self.k, axis=1)[:, -self.k :].sum(dtype=np.float64))

    @property
    def n_impressions(self) -> int:
        return len(self.scores) * self.k

    def with_scores(self, scores: NDArray[np.float32]) -> ExposureProblem:
        return ExposureProblem(scores, self.groups, self.shares, self.k)


@dataclass(frozen=True)
class LossBound:
    """A lower bound of the loss of pages that keep the guarantees, and the ``prices`` (G,) that prove it."""

    loss: float
    prices: NDArray[np.float64]


def bound_loss(problem: ExposureProblem) -> LossBound:
    """Returns the largest bound that the search finds.

    Each step minimises the maximum of all cuts of D in a box around the best prices, and adds the cut there.
    The search ends if no bound in the box can be larger by ``PRECISION``. Cost: about 30 partitions of the
    scores and linear programs of G variables.
    """
    best = problem.best / problem.n_impressions  # relevance per impression, as all values of D below
    centre = np.zeros(len(problem.shares))
    lowest, slope = _dual(problem, centre)
    slopes, offsets = [slope], [slope @ centre - lowest]
    radius = float(problem.scores.std()) / 2
    for _ in range(MAX_STEPS):
        box = [(max(price - radius, 0.0), price + radius) for price in centre]
        rows = np.column_stack([slopes, -np.ones(len(slopes))])
        goal = np.append(np.zeros(len(centre)), 1.0)
        solved = linprog(goal, rows, offsets, bounds=[*box, (None, None)], method="highs")
        possible_gain = lowest - solved.fun
        if possible_gain <= PRECISION * max(best - lowest, PRECISION * best):
            break
        prices = solved.x[:-1]
        value, slope = _dual(problem, prices)
        slopes.append(slope)
        offsets.append(slope @ prices - value)
        gain = lowest - value
        if gain > 0.1 * possible_gain:
            centre, lowest = prices, value
            radius *= 1.5 if gain > 0.7 * possible_gain else 1.0
        else:
            radius *= 0.7
    return LossBound(max(1.0 - lowest / best, 0.0), centre)


def _dual(problem: ExposureProblem, prices: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Returns D(prices) per impression, and a subgradient (G,): shares of the best pages minus guarantees."""
    relevance, counts, k = 0.0, np.zeros(len(prices)), problem.k
    for start in range(0, len(problem.scores), USERS_PER_BLOCK):
        scores = problem.scores[start : start + USERS_PER_BLOCK].astype(np.float64)
        items = np.argpartition(scores + prices[problem.groups], -k, axis=1)[:, -k:]
        relevance += float(np.take_along_axis(scores, items, axis=1).sum())
        counts += np.bincount(problem.groups[items].ravel(), minlength=len(prices))
    slope = counts / problem.n_impressions - problem.shares
    return relevance / problem.n_impressions + float(prices @ slope), slope


def check_scores(scores: NDArray[Any], groups: NDArray[Any]) -> None:
    """Raises ValueError if ``scores`` or ``groups`` are not those of an ``ExposureProblem``."""
    if scores.ndim != 2 or not scores.size or scores.dtype != np.float32:
        raise ValueError(
            f"scores: {scores.dtype} of shape {scores.shape}, expected float32 of shape (users, items)"
        )
    n_items = scores.shape[1]
    if groups.shape != (n_items,) or groups.dtype.kind not in "iu":
        raise ValueError(
            f"groups: {groups.dtype} of shape {groups.shape}, expected integers of shape ({n_items},), one "
            "for each column of scores"
        )
    if not np.isfinite(scores).all():
        user, item = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(
            f"scores[{user}, {item}] is {scores[user, item]}, expected a finite number. Give a low score to "
            "an item that the user cannot get."
        )
    if groups.min() < 0 or groups.max() >= n_items:
        wrong = groups.min() if groups.min() < 0 else groups.max()
        raise ValueError(f"groups: {wrong} is out of range, expected 0 to the number of groups − 1")
    sizes = np.bincount(groups)
    if not sizes.all():
        raise ValueError(
            f"groups: no item has group {int(np.argmin(sizes))}. Number the groups from 0 without gaps."
        )


def read_scores(file: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Returns ``scores`` and ``groups`` of an .npz file. Raises ValueError that names the file."""
    hint = "Write it with numpy.savez(FILE, scores=scores, groups=groups)."
    try:
        arrays = read_npz(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}. {hint}") from error
    if not arrays.keys() >= {"scores", "groups"}:
        raise ValueError(f"{file}: the arrays are {sorted(arrays)}, expected scores and groups. {hint}")
    scores, groups = arrays["scores"], arrays["groups"]
    try:
        check_scores(scores, groups)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return scores, groups


def generate_scores(
    n_users: int, n_items: int, n_groups: int, *, skew: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns ``scores`` (U, I) in (0, 1), probabilities, and ``groups`` (I,).

    Group g has a fraction of the items proportional to (g + 1)^−skew, at least one. Items of a group are
    alike. The logit is taste · item, plus levels of the item, its group and the user. Users' tastes differ in
    strength.
    """
    if n_groups > n_items:
        raise ValueError(f"{n_groups} groups of {n_items} items, expected at most one group for each item")
    rng = np.random.default_rng(seed)
    sizes = np.arange(1.0, n_groups + 1) ** -skew
    others = rng.choice(n_groups, n_items - n_groups, p=sizes / sizes.sum())
    groups = np.concatenate([np.arange(n_groups), others])
    centres = rng.normal(size=(n_groups, TASTES))
    items = 0.6 * centres[groups] + 0.8 * rng.normal(size=(n_items, TASTES))
    tastes = rng.normal(size=(n_users, TASTES)) * np.exp(0.3 * rng.normal(size=(n_users, 1)))
    levels = 0.5 * rng.normal(size=n_items) + 0.5 * rng.normal(size=n_groups)[groups] - 1.5
    logits = tastes @ items.T / np.sqrt(TASTES) + levels + 0.3 * rng.normal(size=(n_users, 1))
    return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32), groups
