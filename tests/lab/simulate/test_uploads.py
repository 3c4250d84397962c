"""Creators upload by how much they are seen, and quit when nobody sees them."""

from dataclasses import replace

import numpy as np
import pytest

from karec.lab.simulate.arm_log import BEFORE, NEVER, REFUSED
from karec.lab.simulate.uploads import LEAST, Creators, Potential

SEEN, UNSEEN, EMPTY = 2, 5, 7  # user rows of three creators; the last has no work


@pytest.fixture
def potential():
    """Of creators SEEN and UNSEEN one work before the days; of each creator 2,000 potential works on each of
    8 days."""
    random = np.random.default_rng(0)
    creator = np.concatenate([[SEEN, UNSEEN], np.tile([SEEN, UNSEEN, EMPTY], 16_000)])
    day = np.concatenate([[BEFORE, BEFORE], np.repeat(np.arange(8), 6_000)]).astype(np.int32)
    coin = random.random(len(day))
    return Potential(day, coin, creator, np.array([SEEN, UNSEEN, EMPTY]), np.array([3, 3, 3]), mean_seen=10.0)


def realised(creators, potential, user, day):
    of = (potential.creator == user) & (potential.day == day)
    return float((creators.upload_day[of] == day).mean())


def test_a_creator_who_is_never_seen_quits_after_his_patience_and_uploads_no_more(potential):
    creators = Creators.at_start(potential, np.array([15.0, 15.0, 0.0]))
    for day in range(8):
        creators = creators.upload(potential, day).look(potential, day, np.full(30, SEEN))
    assert creators.quit_day.tolist() == [-1, 2, creators.quit_day[2]]
    assert realised(creators, potential, UNSEEN, 2) > 0
    assert all(realised(creators, potential, UNSEEN, day) == 0 for day in range(3, 8))
    assert realised(creators, potential, SEEN, 7) > 0


def test_a_creator_without_works_cannot_be_seen_and_does_not_quit(potential):
    creators = Creators.at_start(potential, np.array([15.0, 15.0, 0.0]))
    for day in range(8):
        creators = creators.look(potential, day, np.full(30, SEEN))
    assert creators.quit_day.tolist() == [-1, 2, -1]


def test_chances_follow_the_formula(potential):
    creators = Creators.at_start(potential, np.array([30.0, 0.0, 0.0]))
    assert creators.seen.tolist() == [30.0, 0.0, 0.0]
    creators = creators.upload(potential, 0)
    assert realised(creators, potential, SEEN, 0) == pytest.approx(LEAST + (1 - LEAST) * 3 / 4, abs=0.04)
    assert realised(creators, potential, UNSEEN, 0) == pytest.approx(LEAST, abs=0.02)


def test_a_work_that_screening_refuses_is_not_there_and_its_creator_does_not_quit_for_it(potential):
    creators = Creators.at_start(potential, np.array([15.0, 0.0, 15.0])).upload(potential, 0)
    theirs = np.flatnonzero((creators.upload_day == 0) & (potential.creator == EMPTY))
    screened = creators.without(theirs)
    assert (screened.upload_day[theirs] == REFUSED).all() and (creators.upload_day[theirs] == 0).all()
    for day in range(8):
        screened = screened.look(potential, day, np.full(30, SEEN))
    assert screened.quit_day.tolist() == [-1, 2, -1]


def test_what_was_seen_is_a_running_mean_of_three_days(potential):
    creators = Creators.at_start(potential, np.array([30.0, 0.0, 0.0])).look(potential, 0, np.full(9, UNSEEN))
    np.testing.assert_allclose(creators.seen, [20.0, 3.0, 0.0])


def test_more_attention_never_takes_an_upload_away(potential):
    less = Creators.at_start(potential, np.array([6.0, 6.0, 6.0])).upload(potential, 0)
    more = replace(less, seen=less.seen * 2, upload_day=np.where(potential.day == BEFORE, BEFORE, NEVER))
    more = more.upload(potential, 0)
    assert ((less.upload_day != 0) | (more.upload_day == 0)).all()
