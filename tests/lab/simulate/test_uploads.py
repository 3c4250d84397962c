"""Creators upload in proportion to their attention, and quit without any."""

from dataclasses import replace

import numpy as np
import pytest

from karec.lab.simulate.arm_log import BEFORE, NEVER
from karec.lab.simulate.uploads import MIN_PROBABILITY, Creators, Potential

SEEN, UNSEEN, EMPTY = 2, 5, 7  # user rows of three creators; the last has no work


@pytest.fixture
def potential():
    """Of creators SEEN and UNSEEN one work before the days; of each creator 2,000 potential works on each of
    8 days."""
    random = np.random.default_rng(0)
    creator = np.concatenate([[SEEN, UNSEEN], np.tile([SEEN, UNSEEN, EMPTY], 16_000)])
    day = np.concatenate([[BEFORE, BEFORE], np.repeat(np.arange(8), 6_000)]).astype(np.int32)
    coin = random.random(len(day))
    return Potential(
        day, coin, creator, np.array([SEEN, UNSEEN, EMPTY]), np.array([3, 3, 3]), mean_daily_impressions=10.0
    )


def realised_fraction(creators, potential, user, day):
    rows = (potential.creator == user) & (potential.day == day)
    return float((creators.upload_day[rows] == day).mean())


def test_unseen_creator_quits_after_the_patience(potential):
    creators = Creators.from_potential(potential, np.array([15.0, 15.0, 0.0]))
    for day in range(8):
        creators = creators.upload(potential, day).after_day(potential, day, np.full(30, SEEN))
    assert creators.quit_day.tolist() == [-1, 2, creators.quit_day[2]]
    assert realised_fraction(creators, potential, UNSEEN, 2) > 0
    assert all(realised_fraction(creators, potential, UNSEEN, day) == 0 for day in range(3, 8))
    assert realised_fraction(creators, potential, SEEN, 7) > 0


def test_creator_without_works_does_not_quit(potential):
    creators = Creators.from_potential(potential, np.array([15.0, 15.0, 0.0]))
    for day in range(8):
        creators = creators.after_day(potential, day, np.full(30, SEEN))
    assert creators.quit_day.tolist() == [-1, 2, -1]


def test_upload_probability_follows_the_formula(potential):
    creators = Creators.from_potential(potential, np.array([30.0, 0.0, 0.0]))
    assert creators.daily_impressions.tolist() == [30.0, 0.0, 0.0]
    creators = creators.upload(potential, 0)
    assert realised_fraction(creators, potential, SEEN, 0) == pytest.approx(
        MIN_PROBABILITY + (1 - MIN_PROBABILITY) * 3 / 4, abs=0.04
    )
    assert realised_fraction(creators, potential, UNSEEN, 0) == pytest.approx(MIN_PROBABILITY, abs=0.02)


def test_seen_is_a_running_mean_of_three_days(potential):
    creators = Creators.from_potential(potential, np.array([30.0, 0.0, 0.0])).after_day(
        potential, 0, np.full(9, UNSEEN)
    )
    np.testing.assert_allclose(creators.daily_impressions, [20.0, 3.0, 0.0])


def test_more_attention_never_removes_an_upload(potential):
    less = Creators.from_potential(potential, np.array([6.0, 6.0, 6.0])).upload(potential, 0)
    more = replace(
        less,
        daily_impressions=less.daily_impressions * 2,
        upload_day=np.where(potential.day == BEFORE, BEFORE, NEVER),
    )
    more = more.upload(potential, 0)
    assert ((less.upload_day != 0) | (more.upload_day == 0)).all()
