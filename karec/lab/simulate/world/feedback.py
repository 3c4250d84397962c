"""Feedback of users to works that are shown to them, drawn from the true probabilities.

Simulated days use common random numbers: the random number of a user, a work and a task is fixed. So a user
gives a work the same feedback in every cascade, and two cascades differ only by the shown works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.tastes import PARENT_TASKS, TASKS, Truth, pair_uniform


def feedback_coins(truth: Truth, user: NDArray[Any], work: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Returns {task: (N,) in [0, 1)}, fixed for a user and a work; "play" is for the play time."""
    return {task: pair_uniform(user, work, truth.salt + 2 + n) for n, task in enumerate((*TASKS, "play"))}


def feedback_labels(
    probabilities: Mapping[str, NDArray[Any]], coins: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Returns {task: (N,) uint8} along the funnel, from probabilities of ``Truth`` and uniform numbers."""
    labels: dict[str, NDArray[Any]] = {}
    for task in TASKS:
        parent = PARENT_TASKS[task]
        if parent is None:
            labels[task] = (coins[task] < probabilities[task]).astype(np.uint8)
        else:
            labels[task] = labels[parent] & (coins[task] * probabilities[parent] < probabilities[task])
    return labels


def realised_play_ms(
    duration_ms: NDArray[Any], feedback: Mapping[str, NDArray[Any]], u: NDArray[Any]
) -> NDArray[Any]:
    """Returns (N,) int64 milliseconds played, from the feedback and a uniform number ``u`` in [0, 1).

    A long_view is at least 70 % of the work, a finish all of it.
    """
    partly = np.select(
        [feedback["long_view"] > 0, feedback["click"] > 0], [0.70 + 0.29 * u, 0.05 + 0.60 * u], 0.0
    )
    glance = np.where(feedback["click"] > 0, 0.0, 3000.0 * u**2)
    return np.where(feedback["finish"] > 0, duration_ms, (duration_ms * partly + glance).astype(np.int64))


def expected_play_ms(duration_ms: NDArray[Any], probabilities: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Returns (N,) the mean of ``realised_play_ms`` for labels with these probabilities."""
    finish, long_view, click = (probabilities[name] for name in ("finish", "long_view", "click"))
    fraction = finish + (long_view - finish) * (0.70 + 0.29 / 2) + (click - long_view) * (0.05 + 0.60 / 2)
    return np.asarray(duration_ms * fraction + (1.0 - click) * 3000.0 / 3)
