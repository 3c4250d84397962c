"""Two baselines without training: logits of item rates, without and with user rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.samples.examples import Examples

RATES = (1e-6, 1 - 1e-6)  # a mean rate of 0 or 1 has no logit
EXPOSED = "count_exposed"


def popularity_logits(examples: Examples, items: NDArray[Any] | None = None) -> NDArray[Any]:
    """Returns (M, T) float32: the logit of each item's smoothed rate before the row's time.

    The mean rate is taken over the examples' own items. ``items (M,)``: item rows to score instead of the
    examples' own.
    """
    counters = examples.encoder.works.counters
    own_counts = examples.item_counts
    counts = own_counts if items is None else examples.item_counters.at(items, examples.as_of)
    logits = []
    for task in examples.encoder.tasks:
        positives, shows = _task_counts(own_counts, counters, task)
        mean = float(np.clip(mean_rate(positives, shows), *RATES))
        logits.append(_logit(smoothed_rate(*_task_counts(counts, counters, task), mean)))
    return np.stack(logits, axis=1).astype(np.float32)


def rate_logits(examples: Examples, items: NDArray[Any] | None = None) -> NDArray[Any]:
    """Returns (M, T) float32: the popularity logit plus the user's difference from the mean.

    All rates are as of before the row's time. The user's rate in the scene is smoothed towards the user's
    rate over all scenes, shifted by the difference of the scene's rate and the overall rate on training days.
    The user's rate over all scenes is smoothed towards the mean. Rates that the platform does not count add
    0. ``items``: see ``popularity_logits``.
    """
    return np.asarray((popularity_logits(examples, items) + _user_logits(examples)).astype(np.float32))


def _user_logits(examples: Examples) -> NDArray[Any]:
    """Returns (M, T) float64: logit of the user's smoothed scene rate − logit of the mean rate."""
    users, scenes = examples.encoder.users, examples.encoder.scene_counters
    codes = examples.encoder.scenes.encode(examples.exposures.scene)
    shift = np.zeros((len(examples), len(examples.encoder.tasks)))
    for column, task in enumerate(examples.encoder.tasks):
        if task not in users.counted:
            continue
        positives, shows = _task_counts(examples.user_counts, users.counters, task)
        mean = float(np.clip(mean_rate(positives, shows), *RATES))
        logit = _logit(smoothed_rate(positives, shows, mean))
        if task in scenes.counted:
            scene_rate = np.clip(scenes.priors[:, scenes.counted.index(task)], *RATES)[codes]
            overall = users.priors[users.counted.index(task)]
            expected = 1.0 / (1.0 + np.exp(-(logit + _logit(scene_rate) - _logit(np.array(overall)))))
            logit = _logit(
                smoothed_rate(*_task_counts(examples.scene_counts, scenes.counters, task), expected)
            )
        shift[:, column] = logit - _logit(np.array(mean))
    return shift


def _task_counts(
    counts: NDArray[Any], counters: Sequence[str], task: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (positives, exposures), each (M,), from ``counts (M, ·)`` in the order of ``counters``."""
    return counts[:, counters.index(f"count_{task}")], counts[:, counters.index(EXPOSED)]


def _logit(rate: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.log(rate) - np.log1p(-rate))
