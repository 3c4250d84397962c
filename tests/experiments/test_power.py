"""Plans: the planned number of units finds the effect with the planned power."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_units import DAY_MS, EXPERIMENT, draw_units

from karec.errors import DataError
from karec.experiments.effects import measure_effect
from karec.experiments.power import plan_metrics
from karec.experiments.settings import Arm


def planning_units(n=20_000):
    units = replace(draw_units(n), arms=("all",), arm=np.zeros(n, int))
    return replace(units, end_ms=np.arange(n) * 10 * DAY_MS // n)  # a tenth of the units each day


def test_planned_units_find_the_effect_with_the_planned_power():
    plan, *_ = plan_metrics(planning_units(), "dpp", EXPERIMENT, 0.15)
    found = [
        measure_effect(draw_units(plan.units, 0.15, seed), "like", "new", "control").p < 0.05
        for seed in range(200)
    ]
    assert 0.7 < np.mean(found) < 0.9
    assert plan.units < plan.units_without_cuped


def test_days_follow_from_the_units_a_day_and_the_coverage():
    units = planning_units()
    half, whole = (
        next(plan_metrics(units, "dpp", EXPERIMENT.replace(coverage=coverage), 0.06)) for coverage in (0.5, 1)
    )
    assert half.units == whole.units
    assert whole.exposure_days == -(-whole.units // 2_000)
    assert half.exposure_days == -(-2 * half.units // 2_000)
    assert whole.days == whole.exposure_days + 7
    never = next(plan_metrics(units, "dpp", EXPERIMENT.replace(coverage=0.01), 0.05))
    assert never.exposure_days is None and never.days is None


def test_smaller_effects_and_more_power_need_more_units():
    units = planning_units()
    sizes = [
        next(plan_metrics(units, "dpp", EXPERIMENT, effect, power)).units
        for effect, power in ((0.05, 0.8), (0.025, 0.8), (0.025, 0.9))
    ]
    assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.01) and sizes[2] > sizes[1]


def test_plan_without_events_is_refused():
    units = planning_units(100)
    with pytest.raises(DataError, match="no unit has events of like"):
        next(
            plan_metrics(replace(units, values={**units.values, "like": np.zeros(100)}), "x", EXPERIMENT, 0.1)
        )


def test_plan_of_arms_without_units_is_refused():
    arms = {"control": Arm(weight=0), "new": Arm(weight=1, patches={"x": 1})}
    for values in ({"arms": arms}, {"coverage": 0}, {"holdout": 1}):
        with pytest.raises(DataError, match="its arms get no units"):
            next(plan_metrics(planning_units(100), "x", EXPERIMENT.replace(**values), 0.1))
    with pytest.raises(DataError, match="no unit has 7 days"):
        next(plan_metrics(planning_units(100).take(np.arange(0)), "x", EXPERIMENT, 0.1))
