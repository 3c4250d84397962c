"""Leak check: no input of a training row may depend on events at or after the row's time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from karec.catalog.impressions import Impressions
from karec.samples.examples import Examples

CHECKED_EXPOSURES = 50_000
CHECKED_ROWS = 4096


def check_no_leak(build: Callable[[Impressions], Examples], exposures: Impressions) -> None:
    """Raises ValueError with the inputs of ``build`` that change with outcomes of their own time or later.

    All outcomes from the middle row's time on are inverted. The inputs of the rows until that time must not
    change. Reads the first CHECKED_EXPOSURES of ``exposures`` and encodes the last CHECKED_ROWS until that
    time.
    """
    exposures = exposures.take(np.arange(min(CHECKED_EXPOSURES, len(exposures))))
    middle_ms = exposures.time_ms[len(exposures) // 2]
    later = exposures.time_ms >= middle_ms
    inverted = replace(
        exposures,
        labels={
            task: np.where(later, 1 - label, label).astype(label.dtype)
            for task, label in exposures.labels.items()
        },
        play_ms=None if exposures.play_ms is None else exposures.play_ms + np.where(later, 60_000, 0),
    )
    rows = np.flatnonzero(exposures.time_ms <= middle_ms)[-CHECKED_ROWS:]
    inputs, inputs_inverted = (build(part).inputs(rows) for part in (exposures, inverted))
    leaking = [name for name in inputs if not np.array_equal(inputs[name], inputs_inverted[name])]
    if leaking:
        raise ValueError(f"inputs {leaking} change with later outcomes: training on them would leak labels")
