"""Experiments whose arms learn from the rows of both, against platforms with one arm."""

import numpy as np
import pytest

from karec.lab.studies.pooled_learning import OTHER_ARMS, Platform, bias_table, measure_bias, play


@pytest.fixture(scope="module")
def platform():
    return Platform.from_world(works=400, users=60, days=4, n_candidates=40, seed=3)


@pytest.mark.parametrize("is_exploring", [False, True])
def test_platform_with_one_arm_learns_the_same_from_all_rows_and_its_own(platform, is_exploring):
    arms = np.full(60, is_exploring)
    np.testing.assert_array_equal(play(platform, arms, 0.0), play(platform, arms, 1.0))


def test_arms_differ_only_by_exploration(platform):
    half = np.arange(60) < 30
    own, pooled = play(platform, half, 0.0), play(platform, half, 1.0)
    np.testing.assert_array_equal(own[0], pooled[0])  # nothing is learned before the first day
    assert (own[1:] != pooled[1:]).any()
    nobody = play(platform, np.zeros(60, bool), 0.0)
    np.testing.assert_array_equal(nobody[0, ~half], own[0, ~half])


def test_pooled_learning_has_more_bias_than_own_arm_learning():
    report = measure_bias(worlds=6, users=200, works=800, days=10)
    own, _, pooled = report["rows"]
    assert [row["other_arms"] for row in report["rows"]] == [*OTHER_ARMS]
    assert pooled["bias"]["ci"][1] < 0
    assert abs(own["bias"]["value"]) < 0.5 * abs(pooled["bias"]["value"])
    for row in report["rows"]:
        assert row["bias"]["value"] == pytest.approx(row["estimate"]["value"] - report["truth"]["value"])
    assert [row[0] for row in bias_table(report).rows] == [
        "platforms with one arm",
        "own arm",
        "weight 0.5",
        "pooled",
    ]
