"""The leak check: no input of a training row may depend on what happened at or after the row's moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from karec.catalog.impressions import Impressions
from karec.samples.examples import Examples

LOOKED_AT = 50_000
LOOKED_BACK = 4096


def check_no_leak(build: Callable[[Impressions], Examples], exposures: Impressions) -> None:
    """Refuse a ``build`` whose inputs change with outcomes of their own moment or later: ValueError names
    them.

    All outcomes from the middle row's moment on are inverted, and the rows up to and at that moment are
    encoded with and without that; their inputs must be equal. Looks at the first LOOKED_AT of ``exposures``
    and, of the rows before the moment, the last LOOKED_BACK.
    """
    exposures = exposures.take(np.arange(min(LOOKED_AT, len(exposures))))
    moment = exposures.time_ms[len(exposures) // 2]
    later = exposures.time_ms >= moment
    inverted = replace(
        exposures,
        labels={
            task: np.where(later, 1 - label, label).astype(label.dtype)
            for task, label in exposures.labels.items()
        },
        play_ms=None if exposures.play_ms is None else exposures.play_ms + np.where(later, 60_000, 0),
    )
    until = np.flatnonzero(exposures.time_ms <= moment)[-LOOKED_BACK:]
    inputs, of_inverted = (build(each).inputs(until) for each in (exposures, inverted))
    leaking = [name for name in inputs if not np.array_equal(inputs[name], of_inverted[name])]
    if leaking:
        raise ValueError(
            f"the inputs {leaking} change with outcomes that come later: training on them leaks labels"
        )
