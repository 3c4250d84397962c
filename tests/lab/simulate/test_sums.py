"""Sums of an arm, from a log of a few impressions with feedback counted by hand."""

import numpy as np
import pytest
from small_arms import HOUR_MS, arm

from karec.errors import DataError
from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import resample
from karec.lab.simulate.arm_log import BEFORE
from karec.lab.simulate.sums import sums_of

# day, user, work: creator 1 is shown on both days, creator 5 once, creator 3 never
SHOWN = [(0, 0, 0), (0, 0, 0), (0, 2, 1), (1, 0, 0), (1, 4, 4)]


@pytest.fixture
def sums():
    return sums_of(arm(shown=SHOWN, sessions=[[1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0]]))


def values(sums):
    of_users = resample(sums.by_user, resampling_weights(sums.n_users, 1, 0))
    of_creators = resample(sums.by_creator, resampling_weights(len(sums.creators), 1, 0))
    return {name: part.value for name, part in {**of_users, **of_creators}.items()}


def test_user_measures_are_means_over_users_and_days(sums):
    """Six users, three of whom came; two days."""
    measures = values(sums)
    assert measures["play_s"] == pytest.approx((10 + 10 + 11 + 10 + 14) / 12)
    assert measures["likes"] == pytest.approx(5 * 0.25 / 12)
    assert measures["long_views"] == pytest.approx(2.5 / 12)
    assert measures["follows"] == pytest.approx(5 * 0.125 / 12)
    assert (measures["sessions"], measures["exposures"]) == (pytest.approx(4 / 12), pytest.approx(5 / 12))
    assert measures["play_s_an_exposure"] == pytest.approx(55 / 5)


def test_penetration_is_the_fraction_of_users_with_at_least_one_action():
    """Two of six users liked, one of them twice; one followed."""
    log = arm(shown=SHOWN)
    log.exposures["like"][:] = [1, 1, 0, 0, 1]
    log.exposures["follow"][:] = [0, 0, 1, 0, 0]
    measures = values(sums_of(log))
    assert measures["like_penetration"] == pytest.approx(2 / 6)
    assert measures["follow_penetration"] == pytest.approx(1 / 6)


def test_creators_and_works_without_impressions_count(sums):
    measures = values(sums)
    assert (measures["creators_1"], measures["creators_10"]) == (2, 0)
    assert measures["creators_1_a_day"] == pytest.approx((1 + 2) / 2)
    assert measures["works_1"] == 3
    assert measures["works_1_a_day"] == pytest.approx((2 + 2) / 2)
    # counts 0, 1, 4: (−2·0 + 0·1 + 2·4)/(3·5)
    assert measures["gini_creators"] == pytest.approx((2 * 0 - 0 + 2 * 4) / 15)
    # 0, 0, 1, 1, 3 of five that were there
    assert measures["gini_works"] == pytest.approx((0 * 1 + 2 * 1 + 4 * 3) / 25)


def test_thresholds_count_from_their_exact_number():
    impressions = [(0, 0, 0)] * 9 + [(1, 0, 0)] * 1 + [(1, 0, 4)] * 100
    measures = values(sums_of(arm(shown=impressions)))
    assert [measures[f"creators_{minimum}"] for minimum in (1, 10, 100)] == [2, 2, 1]
    assert [measures[f"works_{minimum}"] for minimum in (1, 10, 100)] == [2, 2, 1]
    assert [measures[f"creators_{minimum}_a_day"] for minimum in (1, 10, 100)] == [1.5, 0.5, 0.5]


def test_age_and_new_creators_are_fractions_of_impressions(sums):
    measures = values(sums)
    assert (measures["younger_24h"], measures["younger_72h"]) == (0.0, pytest.approx(2 / 5))
    assert measures["new_creators_share"] == pytest.approx(1 / 5)  # user 5 began 30 h ago, user 1 1000 h ago


@pytest.mark.parametrize(("hours", "share"), [(7 * 24 - 1, 1.0), (7 * 24, 0.0)])
def test_creator_is_new_for_a_week_after_the_first_upload(hours, share):
    """The work shown is 30 h old; another of the same creator was the first."""
    uploaded = [-(hours - 30), 0, 0, 0, 0, 0]
    measures = values(sums_of(arm(shown=[(0, 0, 1)], upload_ms=np.array(uploaded) * HOUR_MS)))
    assert measures["new_creators_share"] == share


def test_uploads_count_the_uploads_of_the_days(sums):
    measures = values(sums)
    assert (measures["works_available"], measures["uploads"], measures["quits"]) == (5, 3, 1)


def test_work_after_the_last_day_does_not_count():
    measures = values(sums_of(arm(work_upload_day=[BEFORE, 0, BEFORE, 1, 1, 2])))
    assert (measures["works_available"], measures["uploads"]) == (5, 3)


@pytest.mark.parametrize(("age_ms", "young"), [(24 * HOUR_MS - 1, 1.0), (24 * HOUR_MS, 0.0)])
def test_work_is_younger_than_24_hours_below_that_age(age_ms, young):
    log = arm(shown=[(0, 0, 0)])
    log.exposures["age_ms"][:] = age_ms
    assert values(sums_of(log))["younger_24h"] == young


def test_daily_measures_use_only_their_day(sums):
    days = sums.by_day
    assert days["creators_1"].tolist() == [1, 2] and days["works_1"].tolist() == [2, 2]
    assert days["uploads"].tolist() == [1, 2] and days["quits"].tolist() == [0, 1]
    np.testing.assert_allclose(days["sessions"], [2 / 6, 2 / 6])
    np.testing.assert_allclose(days["younger_72h"], [1 / 3, 1 / 2])
    np.testing.assert_allclose(days["play_s"], [31 / 6, 24 / 6])
    np.testing.assert_allclose(days["gini_creators"], [2 / 3, 1 / 3])


def test_day_without_users_has_no_fractions():
    days = sums_of(arm(shown=[(1, 0, 0)])).by_day
    assert np.isnan(days["younger_72h"][0]) and np.isnan(days["gini_creators"][0])
    assert days["creators_1"].tolist() == [0, 1]


def test_arm_without_impressions_has_zero_measures():
    measures = values(sums_of(arm()))
    assert (measures["play_s"], measures["creators_1"], measures["works_1"]) == (0, 0, 0)
    assert all(
        np.isnan(measures[name])
        for name in ("gini_creators", "gini_works", "younger_24h", "play_s_an_exposure")
    )


@pytest.mark.parametrize(
    ("make_arm", "message"),
    [
        (lambda: arm(days=0), "arm 'plain' has 0 days"),
        (lambda: arm(creators=[], quit_day=[]), "arm 'plain' has 0 creators"),
        (lambda: arm(shown=[(0, 9, 0)]), "user has 9 … 9, expected 0 … 5"),
        (lambda: arm(shown=[(2, 0, 0)]), "day has 2 … 2, expected 0 … 1"),
        (lambda: arm(shown=[(0, 0, 0), (0, 0, 3)]), "work 3, exposure 1, was shown before its upload"),
        (lambda: arm(shown=[(1, 0, 5)]), "work 5, exposure 0, was shown before its upload"),
        (
            lambda: arm(shown=[(0, 0, 0)], work_creator=[3, 1, 3, 3, 5, 5]),
            "work 0, exposure 0, has another creator",
        ),
        (lambda: arm(creators=[1, 5], quit_day=[-1, -1]), "work 2 is by user 3, who is not a creator"),
    ],
)
def test_contradictory_rows_are_rejected_by_arm_and_row(make_arm, message):
    with pytest.raises(DataError, match=message):
        sums_of(make_arm())


def test_users_who_may_not_visit_do_not_count():
    """A sample of four of six users was played."""
    sessions = np.array([[1, 1, 0, 0, -1, -1], [0, 1, 0, 0, -1, -1]])
    sums = sums_of(arm("plain", [(0, 0, 0), (0, 1, 2), (1, 1, 0)], sessions=sessions))
    assert sums.n_users == 4 and len(sums.by_user["play_s"].over) == 4
    assert sums.by_day["sessions"].tolist() == [0.5, 0.25]
    assert sums.by_day["exposures"].tolist() == [0.5, 0.25]
    with pytest.raises(DataError, match="exposure 0, was shown to a user who may not visit"):
        sums_of(arm("plain", [(0, 4, 0)], sessions=sessions))
