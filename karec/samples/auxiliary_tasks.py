"""What the MMoE ranker learns besides the tasks, and fusion may weigh besides them: other labels, and play
time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions

PLAY_TIME = "play_time"
PLAY_UNIT_MS = 10_000.0  # play time is learned in units of 10 s
LONGEST_PLAY = 60.0  # units: a play counts as 10 min at most


def auxiliary_tasks(exposures: Impressions, tasks: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The ``wanted`` tasks, beside ``tasks``, that the exposures can teach: labels of two classes, play time
    > 0."""
    labels, play_ms = exposures.labels, exposures.play_ms
    there = [
        name
        for name in wanted
        if name not in tasks
        and (
            play_ms is not None and play_ms.max(initial=0) > 0
            if name == PLAY_TIME
            else name in labels and labels[name].any() and not labels[name].all()
        )
    ]
    return tuple(there)


def auxiliary_labels(exposures: Impressions, tasks: Sequence[str]) -> NDArray[Any]:
    """(M, tasks) float32: the labels, and play time in units of PLAY_UNIT_MS."""
    columns = [_play_time(exposures) if name == PLAY_TIME else exposures.labels[name] for name in tasks]
    return (
        np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((len(exposures), 0), np.float32)
    )


def auxiliary_chances(exposures: Impressions, tasks: Sequence[str]) -> NDArray[Any]:
    """(M, tasks) float32 in [0, 1]: the labels, and t / (1 + t) for the play time t, which is what σ makes of
    the logit log t."""
    labels = auxiliary_labels(exposures, tasks)
    for at, name in enumerate(tasks):
        if name == PLAY_TIME:
            labels[:, at] /= 1.0 + labels[:, at]
    return labels


def _play_time(exposures: Impressions) -> NDArray[Any]:
    assert exposures.play_ms is not None  # or it were no task
    return np.minimum(exposures.play_ms / PLAY_UNIT_MS, LONGEST_PLAY)
