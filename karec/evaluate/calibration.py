"""Calibrates the scores of one item type of a scene: P(the user enjoys the item), from served pages.

The rank log has the scores of the items on pages, the online store their impressions and labels. A label
belongs to the user's last impression of the item before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import WORK, Events, Head
from karec.catalog.schema import Meaning
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval, ece
from karec.evaluate.metrics.platt import fit_calibration
from karec.logs.read import RankLog
from karec.pipeline.mix import ScoreCalibration
from karec.pipeline.types import WORK_TYPE
from karec.samples.outcomes import find_logged_outcomes
from karec.times import DAY_MS

MIN_ROWS, MIN_POSITIVES = 500, 20  # with fewer, the error of a rate of 0.1 is above 0.02
RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class ServedOutcomes:
    """M shown items of one type.

    user_id, time_ms  (M,) int64; time of the page
    score             (M,) float32, of the logged stage
    is_enjoyed        (M,) bool
    """

    user_id: NDArray[Any]
    time_ms: NDArray[Any]
    score: NDArray[Any]
    is_enjoyed: NDArray[Any]

    def take(self, rows: NDArray[Any]) -> ServedOutcomes:
        return ServedOutcomes(*(array[rows] for array in vars(self).values()))

    @property
    def is_enough(self) -> bool:
        n, n_enjoyed = len(self.score), int(self.is_enjoyed.sum())
        return n >= MIN_ROWS and MIN_POSITIVES <= n_enjoyed <= n - MIN_POSITIVES


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error on ``n_rows`` rows, with a 95 % interval over users."""

    n_rows: int
    ece: float
    interval: tuple[float, float]


def served_outcomes(
    log: RankLog, head: Head, events: Events, scene: str, item_type: str, meaning: Meaning
) -> ServedOutcomes:
    """Returns the outcomes of items of ``item_type`` on pages of ``scene``, found by request id and item.

    Raises ValueError if the events have no label that means enjoyed.
    """
    stored_type = WORK if item_type == WORK_TYPE else item_type
    is_on_page = (log.page_position >= 0) & ~log.shadow
    log = log.take(is_on_page & (log.item_type == stored_type) & (log.scene == scene))
    bits, is_reported = find_logged_outcomes(log, events, stored_type)
    labels = {
        name: (bits >> np.uint64(bit) & np.uint64(1)).astype(bool) for bit, name in enumerate(head.labels)
    }
    outcomes = ServedOutcomes(log.user_id, log.time_ms, log.fused, meaning.is_enjoyed(labels))
    return outcomes.take(is_reported)


def calibrate(
    outcomes: ServedOutcomes, stage: str, *, seed: int = 0
) -> tuple[ScoreCalibration, CalibrationError]:
    """Returns the calibration by all outcomes, and the error on the last day of one by the days before.

    Raises DataError if there are too few outcomes before the last day.
    """
    is_test = outcomes.time_ms > outcomes.time_ms.max(initial=0) - DAY_MS
    past, test = outcomes.take(~is_test), outcomes.take(is_test)
    if not past.is_enough:
        raise DataError(
            f"{len(past.score):,} shown items before the last day, of which "
            f"{int(past.is_enjoyed.sum()):,} were enjoyed. Expected at least {MIN_ROWS}, with "
            f"{MIN_POSITIVES} enjoyed and others. Log more pages; report their impressions with request_id"
        )
    p = _fit(past, stage).apply(test.score)
    return _fit(outcomes, stage), calibration_error(test.user_id, test.is_enjoyed, p, seed)


def calibration_error(
    users: NDArray[Any], is_enjoyed: NDArray[Any], p: NDArray[Any], seed: int = 0
) -> CalibrationError:
    """Returns the error of probabilities ``p`` (N,). Resampling adds noise to the error, so the interval is
    shifted to have the error as its median.
    """
    y = is_enjoyed.astype(np.float64)
    error, samples = ece(y, p), UserBootstrap(users, RESAMPLES, seed).ece(y, p)
    low, high = bootstrap_interval(samples - np.median(samples) + error)
    return CalibrationError(len(y), error, (max(low, 0.0), high))


def _fit(outcomes: ServedOutcomes, stage: str) -> ScoreCalibration:
    """Returns the increasing logistic map of best likelihood; the rate of all if none is better."""
    rate = float(outcomes.is_enjoyed.mean())
    scale, bias = fit_calibration(outcomes.score[:, None], outcomes.is_enjoyed[:, None].astype(np.float64))
    fitted = ScoreCalibration(stage, float(scale[0]), float(bias[0]), rate)
    if abs(fitted.apply(outcomes.score).mean() - rate) > 1e-3:  # a fitted map has the mean of the outcomes
        return ScoreCalibration(stage, 0.0, float(np.log(rate / (1 - rate))), rate)
    return fitted
