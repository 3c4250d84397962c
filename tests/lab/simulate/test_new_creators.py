"""Users who upload for the first time during the simulated days."""

from dataclasses import replace

import numpy as np
import pytest
from small_loop import SIZES, TOWERS, play

from karec.errors import ConfigError
from karec.lab.simulate.arm_log import BEFORE, NEVER, ArmLog
from karec.lab.simulate.population import make_population

TWO_DAYS = replace(SIZES, days=2)
NEW_CREATORS = 3
GUARANTEES = """[[arms]]
name = "guarantees"
[arms.scene]
side_effects = []
stages.rerank.steps = [{ use = "top_k" }]
exposure.guarantees = [{ new_creator_days = 2, exposures = 3, budget = 200 }]
exposure.impressions_per_day = 1_000
exposure.explore = 1
"""


@pytest.fixture(scope="module")
def population():
    return make_population(TWO_DAYS, n_new_creators=NEW_CREATORS)


@pytest.fixture(scope="module")
def debutants(population):
    """Rows of the first works, and user rows of their creators."""
    rows = np.flatnonzero(population.potential.coin == 0.0)
    return rows, population.potential.creator[rows]


@pytest.fixture(scope="module")
def logs(tmp_path_factory, models):
    text = TOWERS + GUARANTEES
    folder = tmp_path_factory.mktemp("played")
    out = play(folder, models, text, sizes=TWO_DAYS, new_creators=NEW_CREATORS, cores=1)
    return {name: ArmLog.read(out / name) for name in ("towers", "guarantees")}


def test_new_creators_upload_each_day_in_every_arm(logs, population, debutants):
    potential, (rows, users) = population.potential, debutants
    assert len(np.unique(users)) == TWO_DAYS.days * NEW_CREATORS
    np.testing.assert_array_equal(np.bincount(potential.day[rows]), TWO_DAYS.days * [NEW_CREATORS])
    assert not np.isin(users, population.truth.people.creators).any()
    assert np.isin(users, potential.creators).all()
    for user, first in zip(users, rows, strict=True):
        assert np.flatnonzero(potential.creator == user)[0] == first
    for log in logs.values():
        np.testing.assert_array_equal(log.work_upload_day[rows], potential.day[rows])
    assert (potential.day == BEFORE).sum() == SIZES.works


def test_works_are_shown_from_the_day_after_their_upload(logs):
    for log in logs.values():
        assert (log.work_upload_day[log.exposures["work"]] < log.exposures["day"]).all()


def test_guarantee_shows_works_of_new_creators(logs, debutants):
    n_shown = {name: np.isin(log.exposures["creator"], debutants[1]).sum() for name, log in logs.items()}
    assert n_shown["guarantees"] > n_shown["towers"]
    (counts,) = logs["guarantees"].facts["exposure"]["guarantees"]
    # Works of the last day would be published on the next morning.
    assert counts["name"] == "creators of 2 d" and counts["new"] == NEW_CREATORS


def test_new_creators_change_no_other_day_or_user(population):
    """More days have the same first ones; without new creators all other users are the same."""
    longer = make_population(SIZES, n_new_creators=NEW_CREATORS)
    n = len(population.truth.works)
    np.testing.assert_array_equal(longer.potential.coin[:n], population.potential.coin)
    np.testing.assert_array_equal(longer.truth.works.duration_ms[:n], population.truth.works.duration_ms)
    is_common = np.isin(longer.potential.creators, population.potential.creators)
    np.testing.assert_array_equal(longer.potential.patience[is_common], population.potential.patience)
    without = make_population(TWO_DAYS)
    np.testing.assert_array_equal(without.visits.coin, population.visits.coin)
    assert (without.potential.day != NEVER).all() and len(without.truth.works) < n


@pytest.mark.parametrize(
    ("n", "message"),
    [(-1, "new_creators_per_day is -1, expected"), (100, "new_creators_per_day = 100 on 2 days")],
)
def test_wrong_numbers_of_new_creators_are_rejected(n, message, models, tmp_path):
    with pytest.raises((ConfigError, ValueError), match=message):
        play(tmp_path, models, TOWERS, sizes=TWO_DAYS, new_creators=n)
