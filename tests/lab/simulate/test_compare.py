"""Arms against a baseline: equal arms, planted effects, rejected input."""

import dataclasses

import numpy as np
import pytest
from small_arms import arm

from karec.errors import DataError
from karec.evaluate.metrics.exposure import Sums
from karec.lab.simulate.arm_log import BEFORE, ArmLog
from karec.lab.simulate.compare import compare_arms
from karec.lab.simulate.sums import sums_of

U, C, DAYS = 300, 60, 3


def make_log(name, *, reach=20, gain=1.0, facts=None):
    """Returns a log in which every user gets ten works a day of the first ``reach`` creators with one work
    each.

    The expected play differs between users, by the same draws in every arm, and is ``gain`` times as long.
    """
    rng = np.random.default_rng(7)
    day, user = (
        part.ravel() for part in np.meshgrid(np.arange(DAYS), np.repeat(np.arange(U), 10), indexing="ij")
    )
    work = rng.integers(1 << 30, size=len(day)) % reach
    play = gain * rng.uniform(5, 50, U)[user]
    n = len(day)
    columns = dict.fromkeys(("click", "long_view", "like", "follow", "session", "position"), np.zeros(n))
    columns |= {"p_long_view": play / 100, "p_like": play / 1000, "p_follow": play / 1e4, "p_play_s": play}
    columns |= {
        "day": day,
        "user": user,
        "work": work,
        "creator": work,
        "play_s": play,
        "age_ms": np.full(n, 1 << 40),
    }
    return ArmLog(
        name,
        DAYS,
        U,
        creators=np.arange(C),
        exposures=columns,
        work_upload_day=np.full(C, BEFORE),
        work_creator=np.arange(C),
        upload_ms=np.zeros(C),
        sessions=np.ones((DAYS, U)),
        quit_day=np.full(C, -1),
        facts=facts or {},
    )


def compare(*logs, baseline="plain", **options):
    return compare_arms([sums_of(log) for log in logs], baseline, resamples=200, **options)


def test_equal_arms_have_no_difference():
    report = compare(make_log("plain"), make_log("twin"))
    for name, measure in report["arms"]["twin"]["measures"].items():
        if measure["value"] is not None:
            assert (measure["change"], measure["change_ci"]) == (0.0, (0.0, 0.0)), name


def test_baseline_has_values_and_no_changes():
    for measure in compare(make_log("plain"), make_log("twin"))["arms"]["plain"]["measures"].values():
        assert (
            measure["change"] is measure["change_ci"] is measure["relative"] is measure["relative_ci"] is None
        )


def test_planted_effects_are_within_their_intervals():
    """Play is 2 % longer for all, and there are 50 % more creators."""
    measures = compare(make_log("plain"), make_log("wide", reach=30, gain=1.02))["arms"]["wide"]["measures"]
    assert measures["play_s"]["relative"] == pytest.approx(2.0)
    assert measures["play_s"]["relative_ci"] == pytest.approx((2.0, 2.0), abs=1e-4)
    for name in ("creators_1", "works_1", "creators_1_a_day"):
        assert measures[name]["change"] == pytest.approx(10.0)
        low, high = measures[name]["change_ci"]
        assert 2 < low < 10 < high < 18
        low, high = measures[name]["relative_ci"]
        assert low < 50 < high
    assert measures["gini_creators"]["change_ci"][1] < 0


def test_users_and_creators_are_resampled_independently():
    values = Sums(np.arange(30, dtype=float))
    sums = dataclasses.replace(
        sums_of(arm()),
        n_users=30,
        creators=np.arange(30),
        by_user={"play_s": values},
        by_creator={"creators_1_a_day": values},
    )
    measures = compare_arms([sums], "plain", resamples=50)["arms"]["plain"]["measures"]
    assert measures["play_s"]["value"] == measures["creators_1_a_day"]["value"]
    assert measures["play_s"]["ci"] != measures["creators_1_a_day"]["ci"]


def test_seed_changes_intervals_but_no_value():
    logs = (make_log("plain"), make_log("wide", reach=30, gain=1.02))
    one, other = (compare(*logs, seed=seed)["arms"]["wide"]["measures"] for seed in (0, 1))
    assert {name: measure["value"] for name, measure in one.items()} == {
        name: measure["value"] for name, measure in other.items()
    }
    assert one["creators_1"]["change_ci"] != other["creators_1"]["change_ci"]
    assert compare(*logs)["arms"]["wide"]["measures"] == one


def test_unknown_baseline_is_rejected_with_the_known_arms():
    with pytest.raises(DataError, match="baseline: 'none' is not an arm, expected one of plain, twin"):
        compare(make_log("plain"), make_log("twin"), baseline="none")
    with pytest.raises(DataError, match=r"baseline: 'plain' is not an arm, expected one of \(no arms\)"):
        compare()


def test_unknown_pair_is_rejected():
    with pytest.raises(DataError, match="pair: 'dpp' is not an arm, expected one of plain"):
        compare(make_log("plain"), pair=("plain", "dpp"))


def test_arms_of_equal_name_are_rejected():
    with pytest.raises(DataError, match="2 arms are named 'plain'"):
        compare(make_log("plain"), make_log("plain"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"days": 4}, "arm 'other' has 4 days, 'plain' has 3"),
        ({"n_users": 301}, "arm 'other' has 301 users, 'plain' has 300"),
        ({"works": 61}, "arm 'other' has 61 works, 'plain' has 60"),
        ({"creators": np.arange(C + 1)}, "arm 'other' has 61 creators, 'plain' has 60"),
        ({"creators": np.r_[0 : C - 1, C]}, "arms 'plain' and 'other' have different creators"),
    ],
)
def test_arms_of_other_populations_or_days_are_rejected(changes, message):
    other = dataclasses.replace(sums_of(make_log("other")), **changes)
    with pytest.raises(DataError, match=message):
        compare_arms([sums_of(make_log("plain")), other], "plain", resamples=2)
