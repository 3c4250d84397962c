"""Who comes, how often and for how long: potential sessions are drawn once, and realised by what users
got."""

import numpy as np
import pytest

from karec.lab.simulate.returns import (
    LEAST,
    MEMORY,
    MORE,
    MOST,
    MOST_PAGES,
    NEUTRAL,
    PAGE_MS,
    chance,
    draw_visits,
    moved,
    starting_levels,
)
from karec.lab.simulate.world.people import make_people
from karec.times import DAY_MS


@pytest.fixture(scope="module")
def visits():
    people = make_people(400, 2_000, 7, 7, 14, np.random.default_rng(0))
    return draw_visits(people, 5, 1_000 * DAY_MS, seed=1)


def test_sessions_lie_in_their_day_and_do_not_overlap(visits):
    within = visits.start_ms - 1_000 * DAY_MS - visits.day * DAY_MS
    assert (within >= 0).all() and (within <= DAY_MS - MOST_PAGES * PAGE_MS).all()
    order = np.lexsort((visits.start_ms, visits.user))
    same = np.diff(visits.user[order]) == 0
    assert (np.diff(visits.start_ms[order])[same] >= MOST_PAGES * PAGE_MS).all()
    days = [visits.of_day(day) for day in range(5)]
    assert [(visits.day[rows] == day).all() for day, rows in enumerate(days)] == [True] * 5
    assert sum(rows.stop - rows.start for rows in days) == len(visits.day)


def test_who_gets_what_he_got_comes_to_half_of_his_sessions():
    assert chance(0.2, 0.2) == NEUTRAL and chance(0.2, 0.2, MORE) == MORE


def test_chances_rise_with_what_a_user_gets_and_are_bounded():
    said = [chance(level, 0.2) for level in np.linspace(0.0, 2.0, 50)]
    assert said == sorted(said) and said[0] == LEAST and said[-1] == MOST


def test_levels_move_towards_what_is_enjoyed():
    assert moved(0.2, np.array([0.2, 0.2])) == pytest.approx(0.2)
    assert moved(0.0, np.array([1.0])) == pytest.approx(1 / MEMORY)
    assert moved(0.0, np.ones(1_000)) == pytest.approx(1.0)


def test_a_user_without_a_past_starts_at_everybodys_mean():
    levels = starting_levels(np.array([0, 0, 1]), np.array([0.3, 0.3, 0.6]), 3)
    assert levels[2] == pytest.approx(0.4)
    assert 0.3 < levels[0] < 0.4 < levels[1] < 0.6
