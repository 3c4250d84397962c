"""Two baselines that nothing has to train: the rates of works, and those of users beside them, as logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.samples.examples import Examples

RATES = (1e-6, 1 - 1e-6)  # a mean rate of 0 or 1 has no logit
EXPOSED = "count_exposed"


def popularity_logits(examples: Examples, works: NDArray[Any] | None = None) -> NDArray[Any]:
    """(M, T) float32: the logit of each work's smoothed rate (``platform.rates``) before the row's moment.

    The mean is taken over the examples' own works. The baseline knows the work and nothing of the user.
    ``works (M,)``, rows of works, are scored in place of the examples' own.
    """
    counters = examples.encoder.works.counters
    own = examples.work_counts
    counts = own if works is None else examples.works_past.at(works, examples.as_of)
    logits = []
    for task in examples.encoder.tasks:
        positives, shows = _counted(own, counters, task)
        mean = float(np.clip(mean_rate(positives, shows), *RATES))
        logits.append(_logit(smoothed_rate(*_counted(counts, counters, task), mean)))
    return np.stack(logits, axis=1).astype(np.float32)


def rate_logits(examples: Examples, works: NDArray[Any] | None = None) -> NDArray[Any]:
    """(M, T) float32: popularity's logit, and how far the user's rate in the row's scene lies from the mean,
    in logits.

    All rates are as of before the row's moment. The user's rate in the scene is smoothed towards the user's
    rate over all scenes, shifted by how far the scene's rate on training days lies from the overall one; the
    user's rate over all scenes towards the mean. Rates that the platform does not count add nothing.
    ``works`` as for ``popularity_logits``.
    """
    return np.asarray((popularity_logits(examples, works) + _user_logits(examples)).astype(np.float32))


def _user_logits(examples: Examples) -> NDArray[Any]:
    """(M, T) float64: logit of the user's smoothed rate in the scene − logit of the mean rate of users."""
    users, scenes = examples.encoder.users, examples.encoder.scene_counters
    codes = examples.encoder.scenes.encode(examples.exposures.scene)
    shift = np.zeros((len(examples), len(examples.encoder.tasks)))
    for at, task in enumerate(examples.encoder.tasks):
        if task not in users.counted:
            continue
        positives, shows = _counted(examples.user_counts, users.counters, task)
        mean = float(np.clip(mean_rate(positives, shows), *RATES))
        logit = _logit(smoothed_rate(positives, shows, mean))
        if task in scenes.counted:
            of_scene = np.clip(scenes.priors[:, scenes.counted.index(task)], *RATES)[codes]
            overall = users.priors[users.counted.index(task)]
            expected = 1.0 / (1.0 + np.exp(-(logit + _logit(of_scene) - _logit(np.array(overall)))))
            logit = _logit(smoothed_rate(*_counted(examples.scene_counts, scenes.counters, task), expected))
        shift[:, at] = logit - _logit(np.array(mean))
    return shift


def _counted(counts: NDArray[Any], counters: Sequence[str], task: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """(positives, shows), each (M,), from ``counts (M, ·)`` in the order of ``counters``."""
    return counts[:, counters.index(f"count_{task}")], counts[:, counters.index(EXPOSED)]


def _logit(rate: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.log(rate) - np.log1p(-rate))
