"""Effects of an arm on metrics: estimates with their standard errors, and intervals.

tea-tasting compares users: means, CUPED, and ratios by the delta method. It assumes independent arms and
takes one covariate. The covariate is a least-squares prediction from two inputs: the count before the first
exposure, and a flag for units with events before it. Sessions of a user can be in both arms. Their standard
error is computed from sums of linearised ratios over each user.

Sources: Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data", 2013 (CUPED); Deng, Knoblich, Lu, "Applying the delta method in metric analytics", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import MissingExtra
from karec.experiments.confidence_sequence import MIN_UNITS, half_width_in_standard_errors
from karec.experiments.units import Units

ALPHA = 0.05


@dataclass(frozen=True)
class Effect:
    """One metric of an arm against control.

    All fields after `n_treated` are None if an arm has fewer than two units, or both have no events. All
    after `se` are None if one arm has no events, or if values have no variance.

    alpha            error probability of the intervals
    n_control        users in control; with sessions, users with a session in it
    n_treated        users in the arm
    control          mean of control; for A/B the ratio of the means. CUPED adjusts it.
    treated          the same of the arm
    se               standard error of treated − control
    log_se           standard error of ln(treated / control)
    relative         treated / control − 1
    ci               interval of `relative` that holds for one look
    always_valid     interval of `relative` that holds for all looks; None below MIN_UNITS units in an arm
    p                p value of no effect, two-sided, for one look
    p_adjusted       p corrected by Benjamini and Hochberg over the other metrics; None for the primary metric
    """

    metric: str
    arm: str
    alpha: float
    n_control: int
    n_treated: int
    control: float | None = None
    treated: float | None = None
    se: float | None = None
    log_se: float | None = None
    relative: float | None = None
    ci: tuple[float, float] | None = None
    always_valid: tuple[float, float] | None = None
    p: float | None = None
    p_adjusted: float | None = None


def measure_effect(
    units: Units, metric: str, arm: str, control: str, alpha: float = ALPHA, *, has_covariates: bool = True
) -> Effect:
    """Returns the effect of `arm` on a metric, NAME or NAME/NAME. Cost: O(U).

    Sessions are compared per request if the metric has no denominator. Raises MissingExtra without
    tea-tasting.
    """
    pair = units.take(np.isin(units.arm, [units.arms.index(control), units.arms.index(arm)]))
    is_treated = pair.arm == units.arms.index(arm)
    ratio = f"{metric}/request" if units.kind == "session" and "/" not in metric else metric
    n_treated = int(is_treated.sum())
    effect = Effect(metric, arm, alpha, len(pair) - n_treated, n_treated)
    events, *denominators = [
        np.bincount(is_treated, pair.values[part], minlength=2) for part in ratio.split("/")
    ]
    has_denominators = all(sums.all() for sums in denominators)
    if min(effect.n_control, n_treated) < 2 or not events.any() or not has_denominators:
        return effect
    if units.kind == "session":
        means, se, log_se = _compare_clusters(pair, is_treated, ratio)
    else:  # covariates would give an arm without events a mean
        use_covariates = has_covariates and bool(events.all())
        means, se, log_se = _compare_users(pair, is_treated, ratio, use_covariates)
    effect = replace(effect, control=means[0], treated=means[1], se=se)
    if not (se > 0 and min(means) > 0 and math.isfinite(log_se)):
        return effect
    log_ratio = math.log(means[1] / means[0])
    always_valid = None
    if min(effect.n_control, n_treated) >= MIN_UNITS:
        half = log_se * half_width_in_standard_errors(len(pair), alpha)
        always_valid = _interval(log_ratio, half)
    return replace(
        effect,
        log_se=log_se,
        relative=math.expm1(log_ratio),
        ci=_interval(log_ratio, log_se * NormalDist().inv_cdf(1 - alpha / 2)),
        always_valid=always_valid,
        p=math.erfc(abs(means[1] - means[0]) / se / math.sqrt(2)),
    )


def compute_sample_ratio_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """Returns the p value of the hypothesis that `weights` assigned the units (Pearson's χ² test).

    Arms of weight 0 do not count. None without units, or with fewer than two arms.
    """
    # tea-tasting has this test for two arms only.
    from scipy.stats import chisquare

    is_used = np.array(weights) > 0
    observed, expected = np.array(counts)[is_used], np.array(weights)[is_used]
    if is_used.sum() < 2 or not observed.sum():
        return None
    return float(chisquare(observed, expected / expected.sum() * observed.sum()).pvalue)


def make_user_metric(
    units: Units,
    metric: str,
    groups: Sequence[NDArray[Any]],
    *,
    has_covariates: bool = True,
    **options: float,
) -> tuple[Any, list[Any]]:
    """Returns tea-tasting's metric for NAME or NAME/NAME with `options`, and its aggregates of each group.

    groups: (U,) bool for each group. All units are used to fit the covariates. Raises MissingExtra without
    tea-tasting.
    """
    try:
        from tea_tasting.aggr import Aggregates
        from tea_tasting.metrics import RatioOfMeans
    except ImportError as error:
        raise MissingExtra("tea-tasting", "experiments", "statistics of experiments") from error
    columns = {}
    for role, name in zip(("numer", "denom"), metric.split("/"), strict=False):
        columns[role] = units.values[name]
        if has_covariates and units.has_before.any():
            columns[f"{role}_covariate"] = _predict(units.values[name], units.before[name], units.has_before)
    names = [*columns]
    values = np.stack([*columns.values()])
    aggregates = []
    for group in groups:
        covariances = np.atleast_2d(np.cov(values[:, group]))
        aggregates.append(
            Aggregates(
                count_=int(group.sum()),
                mean_=dict(zip(names, values[:, group].mean(axis=1).tolist(), strict=True)),
                var_=dict(zip(names, covariances.diagonal().tolist(), strict=True)),
                cov_={
                    (one, other): float(covariances[i, j])
                    for i, one in enumerate(names)
                    for j, other in enumerate(names[:i])
                },
            )
        )
    return RatioOfMeans(**{name: name for name in names}, use_t=False, **options), aggregates


def _predict(values: NDArray[Any], before: NDArray[Any], has_before: NDArray[Any]) -> NDArray[Any]:
    """Returns (U,) the least-squares prediction of `values` from the count before and its flag."""
    inputs = np.stack([np.ones(len(values)), before, has_before.astype(np.float64)], axis=1)
    return np.asarray(inputs @ np.linalg.lstsq(inputs, values, rcond=None)[0])


def _interval(centre: float, half: float) -> tuple[float, float]:
    return math.expm1(centre - half), math.expm1(centre + half)


def _compare_users(
    pair: Units, is_treated: NDArray[Any], metric: str, has_covariates: bool
) -> tuple[tuple[float, float], float, float]:
    """Returns the means of control and the other arm, `se` and `log_se`."""
    groups = ~is_treated, is_treated
    ratio, aggregates = make_user_metric(pair, metric, groups, has_covariates=has_covariates)
    halves = 2 * NormalDist().inv_cdf((1 + ratio.confidence_level) / 2)
    with np.errstate(all="ignore"):  # values without variance, or 0: the caller reports no interval
        result = ratio.analyze_aggregates(*aggregates)
        log_width = np.log((1 + result.rel_effect_size_ci_upper) / (1 + result.rel_effect_size_ci_lower))
    se = float(result.effect_size_ci_upper - result.effect_size_ci_lower) / halves
    return (float(result.control), float(result.treatment)), se, float(log_width) / halves


def _compare_clusters(
    pair: Units, is_treated: NDArray[Any], metric: str
) -> tuple[tuple[float, float], float, float]:
    """Returns the ratios of control and the other arm, `se` and `log_se`.

    The linearised ratios are summed over the rows of each user, who may be in both arms.
    """
    y, d = (pair.values[part] for part in metric.split("/"))
    total = np.array([d[~is_treated].sum(), d[is_treated].sum()])
    means = np.array([y[~is_treated].sum(), y[is_treated].sum()]) / total
    side = is_treated.astype(np.int64)
    influence = np.where(is_treated, 1, -1) * (y - means[side] * d) / total[side]
    cluster = np.unique(pair.user, return_inverse=True)[1]
    n = int(cluster.max()) + 1

    def standard_error(values: NDArray[Any]) -> float:
        return math.sqrt(n / max(n - 1, 1) * float((np.bincount(cluster, values) ** 2).sum()))

    with np.errstate(all="ignore"):  # a mean of 0: the caller reports no interval
        log_se = standard_error(influence / means[side])
    return (float(means[0]), float(means[1])), standard_error(influence), log_se
