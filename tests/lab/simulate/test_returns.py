"""Potential sessions, and how many of them a user makes by their enjoyment."""

import numpy as np
import pytest

from karec.lab.simulate.returns import (
    MAX_PAGES,
    MAX_PROBABILITY,
    MEMORY_WORKS,
    MIN_PROBABILITY,
    PAGE_MS,
    PAGE_PROBABILITY,
    VISIT_PROBABILITY,
    draw_visits,
    next_level,
    starting_levels,
    visit_probability,
)
from karec.lab.simulate.world.people import make_people
from karec.times import DAY_MS


@pytest.fixture(scope="module")
def visits():
    people = make_people(400, 2_000, 7, 7, 14, np.random.default_rng(0))
    return draw_visits(people, 5, 1_000 * DAY_MS, seed=1)


def test_sessions_are_within_their_day_and_do_not_overlap(visits):
    within = visits.start_ms - 1_000 * DAY_MS - visits.day * DAY_MS
    assert (within >= 0).all() and (within <= DAY_MS - MAX_PAGES * PAGE_MS).all()
    order = np.lexsort((visits.start_ms, visits.user))
    same = np.diff(visits.user[order]) == 0
    assert (np.diff(visits.start_ms[order])[same] >= MAX_PAGES * PAGE_MS).all()
    days = [visits.day_rows(day) for day in range(5)]
    assert [(visits.day[rows] == day).all() for day, rows in enumerate(days)] == [True] * 5
    assert sum(rows.stop - rows.start for rows in days) == len(visits.day)


def test_user_with_usual_enjoyment_makes_half_of_the_visits():
    assert visit_probability(0.2, 0.2) == VISIT_PROBABILITY
    assert visit_probability(0.2, 0.2, PAGE_PROBABILITY) == PAGE_PROBABILITY


def test_visit_probability_rises_with_enjoyment_in_bounds():
    probabilities = [visit_probability(level, 0.2) for level in np.linspace(0.0, 2.0, 50)]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] == MIN_PROBABILITY and probabilities[-1] == MAX_PROBABILITY


def test_sessions_do_not_depend_on_enjoyment_if_returns_is_0():
    assert visit_probability(0.1, 0.2, returns=0.0) == visit_probability(0.4, 0.2, returns=0.0)
    half = visit_probability(0.1, 0.2, returns=0.5) / VISIT_PROBABILITY
    assert half**2 == pytest.approx(visit_probability(0.1, 0.2) / VISIT_PROBABILITY)


def test_level_moves_towards_the_enjoyment():
    assert next_level(0.2, np.array([0.2, 0.2])) == pytest.approx(0.2)
    assert next_level(0.0, np.array([1.0])) == pytest.approx(1 / MEMORY_WORKS)
    assert next_level(0.0, np.ones(1_000)) == pytest.approx(1.0)


def test_user_without_a_past_starts_at_the_mean():
    levels = starting_levels(np.array([0, 0, 1]), np.array([0.3, 0.3, 0.6]), 3)
    assert levels[2] == pytest.approx(0.4)
    assert 0.3 < levels[0] < 0.4 < levels[1] < 0.6
