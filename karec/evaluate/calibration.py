"""Calibrates the scores of one item type of a scene: P(the user enjoys the item), from served pages.

Rows are items of logged pages whose impression was reported: the rank log has their score, the events of the
online store have their labels. An item is enjoyed if a label says so (``Meaning.enjoyed``). A label belongs
to the user's last impression of the item before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import IMPRESSION, LABEL, WORK, Events, Head
from karec.catalog.schema import Meaning
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval, ece
from karec.logs.read import RankLog
from karec.pipeline.mix import ScoreCalibration
from karec.pipeline.types import WORK_TYPE
from karec.samples.from_events import find_exposures
from karec.times import DAY_MS

MAX_KNOTS, ROWS_PER_KNOT = 20, 100
MIN_ROWS, MIN_POSITIVES = 500, 20  # with fewer, the error of a rate of 0.1 is above 0.02


@dataclass(frozen=True, eq=False)
class ServedOutcomes:
    """M shown items of one item type and scene.

    user_id      (M,) int64
    time_ms      (M,) int64, of the page
    score        (M,) float32, of the logged stage
    is_positive  (M,) bool
    """

    scene: str
    item_type: str
    user_id: NDArray[Any]
    time_ms: NDArray[Any]
    score: NDArray[Any]
    is_positive: NDArray[Any]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray[Any]) -> ServedOutcomes:
        arrays = self.user_id, self.time_ms, self.score, self.is_positive
        return ServedOutcomes(self.scene, self.item_type, *(array[rows] for array in arrays))


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error on ``n_rows`` rows of the held-out days, with a 95 % interval over users."""

    n_rows: int
    ece: float
    interval: tuple[float, float]


def served_outcomes(
    log: RankLog, head: Head, events: Events, scene: str, item_type: str, meaning: Meaning
) -> ServedOutcomes:
    """Returns the outcomes of the items of ``item_type`` on pages of ``scene``.

    Impressions are found by request id and item. ``log`` and ``events`` may have all scenes and item types.
    Raises ValueError if the events have no label that means enjoyed.
    """
    stored_type = WORK if item_type == WORK_TYPE else item_type
    is_on_page = (log.page_position >= 0) & ~log.shadow
    log = log.take(is_on_page & (log.item_type == stored_type) & (log.scene == scene))
    own = events.take(events.item_type == stored_type)
    shown = own.take(own.kind == IMPRESSION)
    feedback = own.take(own.kind == LABEL)
    bits, index = shown.labels.copy(), find_exposures(shown, feedback)
    np.bitwise_or.at(bits, index[index >= 0], feedback.labels[index >= 0])
    labels = {
        label: (bits >> np.uint64(i) & np.uint64(1)).astype(bool) for i, label in enumerate(head.labels)
    }
    is_positive = meaning.is_enjoyed(labels)
    row_of = {
        key: row
        for row, key in enumerate(zip(shown.request_id.tolist(), shown.item_id.tolist(), strict=True))
    }
    rows = np.array(
        [row_of.get(key, -1) for key in zip(log.request_id.tolist(), log.item_id.tolist(), strict=True)],
        np.int64,
    )
    log, rows = log.take(rows >= 0), rows[rows >= 0]
    return ServedOutcomes(scene, item_type, log.user_id, log.time_ms, log.fused, is_positive[rows])


def is_enough(outcomes: ServedOutcomes) -> bool:
    n_positive = int(outcomes.is_positive.sum())
    return len(outcomes) >= MIN_ROWS and MIN_POSITIVES <= n_positive <= len(outcomes) - MIN_POSITIVES


def calibrate(
    outcomes: ServedOutcomes, stage: str, *, test_days: float, resamples: int = 400, seed: int = 0
) -> tuple[ScoreCalibration, CalibrationError]:
    """Returns the calibration by all outcomes, and the error of one without the last ``test_days`` days.

    Raises DataError if there are too few outcomes before these days, or none on them.
    """
    is_test = outcomes.time_ms > outcomes.time_ms.max(initial=0) - test_days * DAY_MS
    past, test = outcomes.take(~is_test), outcomes.take(is_test)
    if not is_enough(past):
        raise DataError(
            f"scene {outcomes.scene!r}: {len(past):,} shown items of the type {outcomes.item_type!r} before "
            f"the last {test_days:g} days, {int(past.is_positive.sum()):,} of them enjoyed. Expected "
            f"at least {MIN_ROWS}, with {MIN_POSITIVES} enjoyed and {MIN_POSITIVES} others. Log more "
            "pages, and report their impressions with request_id"
        )
    p = fit_calibration(past, stage).apply(test.score)
    y = test.is_positive.astype(np.float64)
    samples = UserBootstrap(test.user_id, resamples, seed).ece(y, p)
    return fit_calibration(outcomes, stage), CalibrationError(
        len(test), ece(y, p), bootstrap_interval(samples)
    )


def fit_calibration(outcomes: ServedOutcomes, stage: str) -> ScoreCalibration:
    """Returns the increasing map from scores to probabilities, by MAX_KNOTS groups of equally many rows.

    A group is a knot: its mean score and its rate, with 1 row added at the rate of all. Groups whose rates
    decrease are merged (pool adjacent violators). O(M log M).

    Source: B. Zadrozny, C. Elkan, Transforming classifier scores into accurate multiclass probability
    estimates, KDD 2002: histogram binning and isotonic regression.
    """
    order = np.argsort(outcomes.score, kind="stable")
    score, y = outcomes.score[order].astype(np.float64), outcomes.is_positive[order]
    rate = float(y.mean())
    groups: list[tuple[float, float, float]] = []  # sums of rows, scores and positives
    for part in np.array_split(np.arange(len(y)), min(MAX_KNOTS, max(len(y) // ROWS_PER_KNOT, 1))):
        n, scores, positives = float(len(part)), float(score[part].sum()), float(y[part].sum())
        while groups and groups[-1][2] * n >= positives * groups[-1][0]:
            n, scores, positives = (a + b for a, b in zip(groups.pop(), (n, scores, positives), strict=True))
        groups.append((n, scores, positives))
    return ScoreCalibration(
        stage,
        tuple(scores / n for n, scores, _ in groups),
        tuple((positives + rate) / (n + 1) for n, _, positives in groups),
        rate,
    )
