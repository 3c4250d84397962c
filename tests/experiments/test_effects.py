"""Effects: estimates agree with float64 references, and intervals cover known effects."""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_units import draw_units

from karec.experiments.effects import compute_sample_ratio_p, measure_effect
from karec.experiments.units import Units


def sides(units, name):
    return [units.values[name][units.arm == side] for side in (0, 1)]


def test_effect_without_covariates_is_that_of_welch():
    units = draw_units(effect=0.1, has_before=False)
    effect = measure_effect(units, "like", "new", "control")
    control, treated = sides(units, "like")
    se = math.sqrt(control.var(ddof=1) / len(control) + treated.var(ddof=1) / len(treated))
    assert effect.control == pytest.approx(control.mean()) and effect.treated == pytest.approx(treated.mean())
    assert effect.se == pytest.approx(se, rel=1e-9)
    assert effect.relative == pytest.approx(treated.mean() / control.mean() - 1)
    assert (effect.n_control, effect.n_treated) == (len(control), len(treated))
    low, high = effect.ci
    assert math.log1p(high) - math.log1p(low) == pytest.approx(2 * 1.959964 * effect.log_se, rel=1e-6)


def test_ratio_of_users_is_that_of_clusters_of_one_row():
    units = draw_units(effect=0.1, has_before=False)
    by_user = measure_effect(units, "like/impression", "new", "control")
    by_session = measure_effect(replace(units, kind="session"), "like/impression", "new", "control")
    assert by_user.control == pytest.approx(by_session.control)
    assert by_user.se == pytest.approx(by_session.se, rel=2e-3)  # n / (n − 1) of each arm, or of all clusters
    assert by_user.log_se == pytest.approx(by_session.log_se, rel=2e-3)


def test_cuped_is_the_residual_of_the_regression_on_count_and_flag():
    units = draw_units(effect=0.1)
    effect = measure_effect(units, "like", "new", "control")
    inputs = np.stack([np.ones(len(units)), units.before["like"], units.has_before], axis=1).astype(float)
    fitted = inputs @ np.linalg.solve(inputs.T @ inputs, inputs.T @ units.values["like"])
    adjusted = units.values["like"] - fitted + fitted.mean()
    means = [adjusted[units.arm == side].mean() for side in (0, 1)]
    assert (effect.control, effect.treated) == pytest.approx(means)
    plain = measure_effect(units, "like", "new", "control", has_covariates=False)
    assert effect.se < 0.9 * plain.se


def test_sessions_of_one_user_in_both_arms_are_clustered():
    n, rng = 500, np.random.default_rng(1)
    level = rng.gamma(1, 10, n)
    values = np.concatenate([level, level]) + rng.normal(0, 0.1, 2 * n)
    units = Units(
        kind="session",
        arms=("control", "new"),
        user=np.tile(np.arange(n), 2),
        arm=np.repeat([0, 1], n),
        end_ms=np.zeros(2 * n),
        values={"like": values, "request": np.ones(2 * n)},
        before={},
        has_before=np.zeros(2 * n, bool),
    )
    effect = measure_effect(units, "like", "new", "control")
    differences = values[n:] - values[:n]
    assert effect.metric == "like" and effect.control == pytest.approx(values[:n].mean())
    assert effect.se == pytest.approx(differences.std() / math.sqrt(n), rel=0.01)
    independent = replace(units, user=np.arange(2 * n))
    assert measure_effect(independent, "like", "new", "control").se > 20 * effect.se


@pytest.mark.parametrize("metric", ["like", "like/impression"])
def test_intervals_cover_a_known_effect(metric):
    effects = [measure_effect(draw_units(600, 0.15, seed), metric, "new", "control") for seed in range(300)]
    covered = np.mean([one.ci[0] <= 0.15 <= one.ci[1] for one in effects])
    assert 0.91 <= covered <= 0.98
    assert all(one.always_valid is None for one in effects)  # fewer than 1,000 units an arm


def test_always_valid_interval_contains_that_of_one_look():
    effect = measure_effect(draw_units(4_000, 0.1), "like", "new", "control")
    assert effect.always_valid[0] < effect.ci[0] < effect.relative < effect.ci[1] < effect.always_valid[1]
    narrow = measure_effect(draw_units(4_000, 0.1), "like", "new", "control", alpha=0.2)
    assert narrow.ci[0] > effect.ci[0] and narrow.always_valid[0] > effect.always_valid[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda units: replace(units, arm=np.zeros(len(units), int)),  # an arm without units
        lambda units: replace(units, values={**units.values, "like": np.zeros(len(units))}),
        lambda units: replace(units, values={**units.values, "like": np.ones(len(units))}),
        lambda units: replace(units, values={**units.values, "like": units.values["like"] * units.arm}),
    ],
)
@pytest.mark.parametrize("kind", ["user", "session"])
def test_effect_is_undetermined_without_units_events_or_variance(change, kind):
    units = change(draw_units(200, has_before=False, kind=kind))
    if kind == "session":
        units = replace(units, values={**units.values, "request": np.ones(len(units))})
    effect = measure_effect(units, "like", "new", "control")
    assert effect.ci is None and effect.relative is None and effect.always_valid is None and effect.p is None


def test_sample_ratio_p_is_small_for_other_weights_only():
    assert compute_sample_ratio_p([5_000, 5_050], [0.5, 0.5]) > 0.5
    assert compute_sample_ratio_p([5_000, 5_500], [0.5, 0.5]) < 0.001
    assert compute_sample_ratio_p([5_000, 2_500, 2_480], [0.5, 0.25, 0.25]) > 0.1
    assert compute_sample_ratio_p([5_000, 5_050, 9], [0.5, 0.5, 0]) == compute_sample_ratio_p(
        [5_000, 5_050], [0.5, 0.5]
    )
    assert compute_sample_ratio_p([0, 0], [0.5, 0.5]) is None and compute_sample_ratio_p([9], [1.0]) is None


def test_few_assignments_of_sessions_find_an_effect_without_one():
    rng = np.random.default_rng(0)
    n_sessions = rng.geometric(0.2, 1_500)
    user = np.repeat(np.arange(1_500), n_sessions)
    requests = rng.integers(1, 5, len(user))
    likes = rng.poisson(np.repeat(rng.gamma(0.5, 2, 1_500), n_sessions) * requests)
    errors = []
    for _ in range(400):
        row = 2 * user + rng.integers(0, 2, len(user))  # a session has an arm; rows are users by arm
        counts = {name: np.bincount(row, values) for name, values in (("like", likes), ("request", requests))}
        rows = np.flatnonzero(counts["request"])
        units = Units(
            kind="session",
            arms=("control", "new"),
            user=rows // 2,
            arm=rows % 2,
            end_ms=np.zeros(len(rows)),
            values={name: values[rows] for name, values in counts.items()},
            before={},
            has_before=np.zeros(len(rows), bool),
        )
        errors.append(measure_effect(units, "like", "new", "control").p < 0.05)
    assert 0.025 < np.mean(errors) < 0.08
