"""The population that all arms share: it does not depend on the number of days."""

from dataclasses import replace

import numpy as np
import pytest

from karec.lab.simulate.arm_log import BEFORE, NEVER
from karec.lab.simulate.population import Part, Sizes, make_population, population_of
from karec.times import DAY_MS

SIZES = Sizes(works=800, users=80, exposures=4_000, days=2, seed=1)


@pytest.fixture(scope="module")
def population():
    return make_population(SIZES)


def test_population_of_more_days_has_equal_first_days(population):
    longer = make_population(replace(SIZES, days=3))
    n = len(population.truth.works)
    for name, column in vars(population.truth.works).items():
        np.testing.assert_array_equal(getattr(longer.truth.works, name)[:n], column)
    rows = longer.visits.day < 2
    for name, column in vars(population.visits).items():
        np.testing.assert_array_equal(getattr(longer.visits, name)[rows], column)
    for name in ("coin", "day", "creator"):
        np.testing.assert_array_equal(
            getattr(longer.potential, name)[:n], getattr(population.potential, name)
        )
    np.testing.assert_array_equal(longer.potential.patience, population.potential.patience)
    assert longer.potential.mean_daily_impressions == population.potential.mean_daily_impressions


def test_sample_of_a_world_has_the_works_of_its_users(population):
    part = population_of(population.world, SIZES.days, SIZES.seed, Part(users=20, works=5.0))
    assert part.is_visitor.sum() == 20 and population.is_visitor.all()
    assert part.is_visitor[part.visits.user].all() and 0 < len(part.visits.user) < len(population.visits.user)
    impressions, snapshot = part.world.dataset.exposures, part.snapshot
    is_of_visitor = part.is_visitor[snapshot.users.lookup(impressions.user_id)]
    is_uploaded = part.potential.day == BEFORE
    assert is_uploaded[snapshot.works.lookup(impressions.work_id[is_of_visitor])].all()
    assert 0 < (part.potential.day == NEVER).sum() < len(part.potential.day)
    assert 0 < is_uploaded.sum() < (population.potential.day == BEFORE).sum()
    assert part.potential.mean_daily_impressions < population.potential.mean_daily_impressions


def test_truth_and_platform_have_equal_rows(population):
    works, snapshot = population.truth.works, population.snapshot
    assert len(works) == len(snapshot.works) > SIZES.works
    np.testing.assert_array_equal(snapshot.users.ids[works.creator], snapshot.works["creator_id"])
    np.testing.assert_array_equal(works.upload_ms, snapshot.works["upload_ms"])
    assert (np.diff(works.upload_ms) >= 0).all()


def test_potential_works_are_new_and_unseen(population):
    is_new = population.potential.day != BEFORE
    assert is_new.sum() == len(population.truth.works) - SIZES.works
    days = (population.truth.works.upload_ms[is_new] - population.first_ms) // DAY_MS
    np.testing.assert_array_equal(days, population.potential.day[is_new])
    assert not population.snapshot.works["count_exposed"][is_new].any()
    assert population.snapshot.works["count_exposed"][~is_new].any()


def test_recent_works_are_the_last_of_the_weeks_before(population):
    impressions, snapshot = population.world.dataset.exposures, population.snapshot
    for user in range(0, SIZES.users, 7):
        ids = impressions.work_id[impressions.user_id == snapshot.users.ids[user]]
        recent = population.recent_works[user]
        n_padded = max(len(recent) - len(ids), 0)
        np.testing.assert_array_equal(snapshot.works.ids[recent[n_padded:]], ids[-len(recent) :])
        assert (recent[:n_padded] == -1).all()
