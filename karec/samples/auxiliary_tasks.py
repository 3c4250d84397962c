"""Auxiliary tasks: other labels and play time, which the MMoE ranker also learns and fusion may weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions

PLAY_TIME = "play_time"
PLAY_UNIT_MS = 10_000.0  # play time is learned in units of 10 s
MAX_PLAY = 60.0  # units; a longer play counts as 10 min


def auxiliary_tasks(
    exposures: Impressions, tasks: Sequence[str], candidates: Sequence[str]
) -> tuple[str, ...]:
    """Returns the tasks in ``wanted``, but not in ``tasks``, that the exposures can teach.

    These are labels with both values, and play time if it is above 0 somewhere.
    """
    labels, play_ms = exposures.labels, exposures.play_ms
    usable = [
        name
        for name in candidates
        if name not in tasks
        and (
            play_ms is not None and play_ms.max(initial=0) > 0
            if name == PLAY_TIME
            else name in labels and labels[name].any() and not labels[name].all()
        )
    ]
    return tuple(usable)


def auxiliary_labels(exposures: Impressions, tasks: Sequence[str]) -> NDArray[Any]:
    """Returns (M, tasks) float32: the labels, and play time in units of PLAY_UNIT_MS."""
    columns = [_play_time(exposures) if name == PLAY_TIME else exposures.labels[name] for name in tasks]
    return (
        np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((len(exposures), 0), np.float32)
    )


def auxiliary_probabilities(exposures: Impressions, tasks: Sequence[str]) -> NDArray[Any]:
    """Returns (M, tasks) float32 in [0, 1]: the labels, and t / (1 + t) = σ(log t) for play time t."""
    values = auxiliary_labels(exposures, tasks)
    for column, name in enumerate(tasks):
        if name == PLAY_TIME:
            values[:, column] /= 1.0 + values[:, column]
    return values


def _play_time(exposures: Impressions) -> NDArray[Any]:
    assert exposures.play_ms is not None  # auxiliary_tasks checks it
    return np.minimum(exposures.play_ms / PLAY_UNIT_MS, MAX_PLAY)
