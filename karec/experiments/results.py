"""Result of an experiment at one look: counts, the sample ratio, effects, and the arms to stop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from karec.errors import DataError
from karec.experiments.confidence_sequence import MIN_UNITS, half_width_in_standard_errors
from karec.experiments.effects import ALPHA, Effect, compute_sample_ratio_p, measure_effect
from karec.experiments.metrics import Metrics
from karec.experiments.settings import Experiment
from karec.experiments.units import ArmFacts, ExperimentLog, Units
from karec.times import DAY_MS

MIN_SAMPLE_RATIO_P = 0.001


@dataclass(frozen=True)
class Look:
    """The result at `until_ms`.

    sample_ratio_p  p value of the hypothesis that the weights assigned the exposed units; None without units
    has_mismatch    sample_ratio_p is below MIN_SAMPLE_RATIO_P: there are no effects
    primary         effects of the primary metric, one for each arm but control, which share ALPHA
    others          effects of the other metrics, with `p_adjusted`
    guardrails      effects of the guardrails, with the alpha of `primary`
    stops           (arm, guardrail) beyond the limit, by `is_beyond`
    """

    name: str
    version: int
    control: str
    metrics: Metrics
    until_ms: int
    facts: Sequence[ArmFacts]
    left_out: Mapping[str, int]
    sample_ratio_p: float | None
    has_mismatch: bool
    primary: Sequence[Effect]
    others: Sequence[Effect]
    guardrails: Sequence[Effect]
    stops: Sequence[tuple[str, str]]


def take_look(log: ExperimentLog, name: str, experiment: Experiment) -> Look:
    """Returns the result of the units in `log`. Raises DataError if the experiment has no metrics."""
    metrics, control = require_metrics(name, experiment), experiment.control
    weights = [table.weight for table in experiment.arms.values()]
    p = compute_sample_ratio_p([facts.units for facts in log.facts], weights)
    has_mismatch = p is not None and p < MIN_SAMPLE_RATIO_P
    arms = [] if has_mismatch else [arm for arm in experiment.arms if arm != control]

    def measure(names: Sequence[str], alpha: float) -> list[Effect]:
        return [measure_effect(log.units, metric, arm, control, alpha) for arm in arms for metric in names]

    alpha = ALPHA / max(len(arms), 1)
    guardrails = measure([*metrics.guardrails], alpha)
    limits = metrics.guardrails
    return Look(
        name=name,
        version=experiment.version,
        control=control,
        metrics=metrics,
        until_ms=log.until_ms,
        facts=log.facts,
        left_out=log.left_out,
        sample_ratio_p=p,
        has_mismatch=has_mismatch,
        primary=measure([metrics.primary], alpha),
        others=_with_adjusted_p(measure(metrics.others, ALPHA)),
        guardrails=guardrails,
        stops=[(one.arm, one.metric) for one in guardrails if is_beyond(one, limits[one.metric])],
    )


def require_metrics(name: str, experiment: Experiment) -> Metrics:
    """Returns the metrics of the experiment `name`. Raises DataError if it has none."""
    if experiment.metrics is None:
        raise DataError(
            f"the experiment {name!r} has no metrics. Add [experiments.{name}.metrics] to experiments.toml, "
            'for example with primary = "like".'
        )
    return experiment.metrics


def daily_effects(
    units: Units, metric: str, arm: str, control: str, alpha: float = ALPHA
) -> Iterator[tuple[int, Effect]]:
    """Yields (end of the day in Unix ms, effect over the units that were complete then) for each day."""
    days = np.unique(units.end_ms // DAY_MS)
    for end_ms in ((days + 1) * DAY_MS).tolist():
        yield end_ms, measure_effect(units.take(units.end_ms <= end_ms), metric, arm, control, alpha)


def is_beyond(effect: Effect, limit: float) -> bool:
    """Returns True if the always-valid interval is above a positive limit, or below a negative one.

    The change from or to no events at all is beyond each limit, if the interval of the difference excludes 0.
    """
    if effect.always_valid is not None:
        low, high = effect.always_valid
        return low > limit if limit > 0 else high < limit
    if effect.control is None or effect.treated is None or effect.se is None:
        return False
    n = effect.n_control, effect.n_treated
    if min(n) < MIN_UNITS or min(effect.control, effect.treated) > 0:
        return False
    half = effect.se * half_width_in_standard_errors(sum(n), effect.alpha)
    return (effect.treated - effect.control) * math.copysign(1, limit) > half


def _with_adjusted_p(effects: Sequence[Effect]) -> list[Effect]:
    """Returns the effects with `p_adjusted`, by Benjamini and Hochberg over those that have a p value."""
    from scipy.stats import false_discovery_control

    ps = [effect.p for effect in effects if effect.p is not None]
    adjusted = iter(false_discovery_control(np.array(ps)).tolist() if ps else ())
    return [effect if effect.p is None else replace(effect, p_adjusted=next(adjusted)) for effect in effects]
