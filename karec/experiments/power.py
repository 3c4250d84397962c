"""Size and length of an experiment, from the units of a time before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from karec.errors import DataError
from karec.experiments.effects import ALPHA, make_user_metric
from karec.experiments.results import require_metrics
from karec.experiments.settings import Experiment
from karec.experiments.units import Units
from karec.times import DAY_MS


@dataclass(frozen=True)
class Plan:
    """Size and length of an experiment that detects a relative effect on one metric with the given power.

    mean                 mean of the metric per unit, or the ratio
    units                units of control and the smallest other arm together, with CUPED
    units_without_cuped  the same without CUPED
    exposure_days        days until so many units are exposed; None: more days than the log has
    days                 exposure_days plus the days of the outcome
    """

    metric: str
    mean: float
    units: int
    units_without_cuped: int
    exposure_days: int | None
    days: int | None


def plan_metrics(
    units: Units, name: str, experiment: Experiment, relative_effect: float, power: float = 0.8
) -> Iterator[Plan]:
    """Yields a plan for the primary and the other metrics, for a fixed horizon with error probability ALPHA.

    `units`: those of `Design.from_scenes`, all in one arm. The times of their first requests give the number
    of new units of each day. `relative_effect`: 0.02 is 2 %. Raises DataError if there are no units, if none
    has events, or if the arms get none.
    """
    metrics = require_metrics(name, experiment)
    weights = {arm: table.weight for arm, table in experiment.arms.items()}
    control = weights.pop(experiment.control)
    smallest = min((weight for weight in weights.values() if weight), default=control)
    fraction = (control + smallest) * experiment.coverage * (1 - experiment.holdout)
    if not (control and fraction):
        raise DataError(f"control or coverage of {name!r} is 0, or holdout is 1: its arms get no units")
    if not len(units):
        raise DataError(
            f"no unit has {metrics.days} days in the log after its first request. Set --until to the last "
            "day of the log, and --history to fewer days"
        )
    options = {
        "rel_effect_size": relative_effect,
        "power": power,
        "alpha": ALPHA / max(len(weights), 1),
        "ratio": smallest / control,
    }
    for metric in (metrics.primary, *metrics.others):
        numerator, *denominator = (float(units.values[part].sum()) for part in metric.split("/"))
        if not numerator or not all(denominator):
            raise DataError(f"no unit has events of {metric}: expected some in the {len(units):,} units")
        n_with, n_without = (
            _units_needed(units, metric, has_covariates, options) for has_covariates in (True, False)
        )
        exposure_days = _days_until(units, n_with / fraction)
        yield Plan(
            metric,
            numerator / (denominator or [float(len(units))])[0],
            n_with,
            n_without,
            exposure_days,
            None if exposure_days is None else exposure_days + metrics.days,
        )


def _units_needed(units: Units, metric: str, has_covariates: bool, options: dict[str, float]) -> int:
    all_units = np.ones(len(units), bool)
    ratio, (aggregates,) = make_user_metric(
        units, metric, [all_units], has_covariates=has_covariates, **options
    )
    return int(ratio.solve_power_from_aggregates(aggregates, "n_obs")[0].n_obs)


def _days_until(units: Units, n: float) -> int | None:
    """Returns the number of days after which `n` units have had their first request."""
    by_day = np.bincount((units.end_ms - units.end_ms.min()) // DAY_MS).cumsum()
    days = int(np.searchsorted(by_day, n)) + 1
    return None if days > len(by_day) else days
