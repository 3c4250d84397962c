"""A look: mismatched sample ratios hide the result, guardrails stop arms, p values are corrected."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_units import EXPERIMENT, draw_units

from karec.errors import DataError
from karec.experiments.results import daily_effects, is_beyond, take_look
from karec.experiments.settings import Arm
from karec.experiments.units import ArmFacts, ExperimentLog


def log_of(units, counts=None):
    counts = np.bincount(units.arm, minlength=len(units.arms)).tolist() if counts is None else counts
    facts = tuple(
        ArmFacts(arm, n, n, n, None, None, None, None) for arm, n in zip(units.arms, counts, strict=True)
    )
    return ExperimentLog(units, facts, 0, {})


def test_look_measures_every_metric_of_every_arm():
    look = take_look(log_of(draw_units(4_000, 0.3)), "dpp", EXPERIMENT)
    assert not look.has_mismatch and [one.metric for one in look.primary] == ["like"]
    assert [one.metric for one in look.others] == ["impression", "like/impression"]
    assert all(one.p_adjusted >= one.p for one in look.others) and look.primary[0].p_adjusted is None
    assert look.stops == [("new", "like")]


def test_look_at_sessions_names_effects_and_guardrails_by_metric():
    units = replace(draw_units(4_000, 0.3), kind="session")
    look = take_look(log_of(units), "dpp", EXPERIMENT)
    assert [one.metric for one in (*look.primary, *look.others)] == ["like", "impression", "like/impression"]
    assert look.stops == [("new", "like")]


@pytest.mark.parametrize(
    ("side", "metric"), [(0, "like"), (1, "impression")]
)  # like = 0.02, impression = −0.5
@pytest.mark.parametrize("kind", ["user", "session"])
def test_change_from_or_to_no_events_is_beyond_a_guardrail(side, metric, kind):
    units = draw_units(4_000)
    values = {**units.values, metric: units.values[metric] * (units.arm != side)}
    looks = [
        take_look(log_of(replace(units, kind=kind, values=values).take(rows)), "dpp", EXPERIMENT)
        for rows in (np.arange(4_000), np.arange(1_500))
    ]
    (effect,) = [one for one in looks[0].guardrails if one.metric == metric]
    assert 0 in (effect.control, effect.treated) and effect.se > 0 and effect.relative is None
    assert ("new", metric) in looks[0].stops and looks[1].stops == []  # too few units for all looks


def test_few_events_of_one_arm_are_not_beyond_a_guardrail():
    units = draw_units(4_000)
    few = np.where((units.arm == 1) & (units.user < 9), 1.0, 0.0)
    look = take_look(log_of(replace(units, values={**units.values, "like": few})), "dpp", EXPERIMENT)
    assert look.guardrails[0].treated > 0 == look.guardrails[0].control and look.stops == []


def test_mismatch_of_the_sample_ratio_hides_the_result():
    look = take_look(log_of(draw_units(4_000, 0.3), [2_000, 2_400]), "dpp", EXPERIMENT)
    assert look.has_mismatch and look.sample_ratio_p < 0.001
    assert not (look.primary or look.others or look.guardrails or look.stops)


def test_arms_share_the_error_probability_of_the_primary_metric():
    units = draw_units(6_000)
    units = replace(units, arms=("control", "new", "third"), arm=np.arange(6_000) % 3)
    arms = {arm: Arm(weight=1 / 3, patches={} if arm == "control" else {"x": 1}) for arm in units.arms}
    look = take_look(log_of(units), "dpp", EXPERIMENT.replace(arms=arms))
    assert [one.alpha for one in look.primary] == [0.025, 0.025]
    assert [one.alpha for one in look.others] == [0.05] * 4


def test_look_needs_metrics():
    with pytest.raises(DataError, match=r"has no metrics. Add \[experiments.dpp.metrics\]"):
        take_look(log_of(draw_units(100)), "dpp", EXPERIMENT.replace(metrics=None))


def test_control_is_the_first_arm_without_patches():
    arms = {"new": Arm(weight=0.5, patches={"x": 1}), "old": Arm(weight=0.5)}
    assert EXPERIMENT.replace(arms=arms).control == "old"
    assert EXPERIMENT.replace(arms={"a": arms["new"], "b": arms["new"]}).control == "a"


@pytest.mark.parametrize(
    ("interval", "limit", "expected"),
    [((0.11, 0.2), 0.1, True), ((0.09, 0.2), 0.1, False), ((-0.2, -0.11), -0.1, True),
     ((-0.2, -0.09), -0.1, False), (None, 0.1, False)],
)  # fmt: skip
def test_guardrail_stops_if_the_whole_interval_is_beyond_the_limit(interval, limit, expected):
    effect = replace(take_look(log_of(draw_units(200)), "dpp", EXPERIMENT).primary[0], always_valid=interval)
    assert is_beyond(effect, limit) is expected


def test_daily_effects_have_the_units_whose_days_were_over():
    units = draw_units(2_000, 0.1)
    looks = [*daily_effects(units, "like", "new", "control")]
    assert len(looks) == 20
    end_ms, effect = looks[9]
    assert effect.n_control + effect.n_treated == (units.end_ms <= end_ms).sum()
    whole = take_look(log_of(units), "dpp", EXPERIMENT).primary[0]
    assert looks[-1][1] == whole
