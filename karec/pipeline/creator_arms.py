"""Merges the orders of several arms into one list, in which each item is placed by the arm of its creator.

Each arm scores the same candidates. The target position of an item is its position in the order of its
creator's arm; without an arm, in the order of control. The list is sorted by target position. Ties are in
random order, with the request's id as seed. So an item is about where it would be if all creators had its
creator's arm.

Source: P. Nandy, D. Venugopalan, C. Lo and S. Chatterjee, "A/B testing for recommender systems in a two-sided
marketplace", 2021 (arXiv 2106.00762).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from karec.pipeline.step import Step
from karec.pipeline.types import Array, Candidates, Request

NO_CREATOR = -1
STREAM = 2  # of random numbers; 1 is that of interleaving


@dataclass(frozen=True)
class CreatorArms:
    """Arms of creators in one stage, whose own steps are control.

    column    column of the item index with the creator of an item; below 0: the item has none
    choose    returns (N,) the number of the arm of each creator (N,) int64: 0 for control, i for steps[i − 1]
    n_shared  number of first steps of the stage that all arms share
    steps     the hydrators and scorers of each arm after these, before the first selector
    """

    column: str
    choose: Callable[[Array], Array]
    n_shared: int
    steps: tuple[tuple[Step, ...], ...]

    def merge(
        self, request: Request, control: Candidates, arms: Sequence[Candidates]
    ) -> tuple[Candidates, list[int]]:
        """Returns ``control`` with scores of the merged order, and the number of items of each arm.

        The best item of the merged order gets the highest score of control, the next one the second, and so
        on: the selectors that follow see the scores of control. If some of these are equal, a selector orders
        the items that get them. Cost: O(A · N log N) for A arms, and ``choose``.

        Args:
            control: N candidates with their scores.
            arms: the same candidates with the scores of each arm.
        """
        rows = control.rows
        creators = request.index.gather(self.column, rows).astype(np.int64)
        creators = np.where(np.asarray(rows) < 0, NO_CREATOR, creators)
        numbers = np.zeros(len(control), np.int64)
        has_creator = creators >= 0
        numbers[has_creator] = self.choose(creators[has_creator])
        order = merge_orders([control.scores, *(arm.scores for arm in arms)], numbers, request.seed)
        scores = np.empty(len(control), np.float32)
        scores[order] = -np.sort(-control.scores)
        n_items = np.bincount(numbers, minlength=1 + len(arms)).tolist()
        return control.with_scores(scores), n_items


def merge_orders(scores: Sequence[Array], numbers: Array, seed: int) -> Array:
    """Returns (N,) int64: indices of the items by their position in the order of their own arm, best first.

    Args:
        scores: of each arm, (N,) float32; the first of equal scores is better.
        numbers: (N,) the arm of each item.
        seed: of the order of items with equal positions.
    """
    positions = np.empty((len(scores), len(numbers)), np.int64)
    for position, arm_scores in zip(positions, scores, strict=True):
        position[np.argsort(-arm_scores, kind="stable")] = np.arange(len(numbers))
    targets = positions[numbers, np.arange(len(numbers))]
    ties = np.random.default_rng((seed, STREAM)).random(len(numbers))
    return np.lexsort((ties, targets))
