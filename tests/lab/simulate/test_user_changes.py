"""Users who are worse off, counted by hand."""

import numpy as np
from small_arms import arm

from karec.lab.simulate.population import Sizes, make_population
from karec.lab.simulate.sums import sums_of
from karec.lab.simulate.user_changes import read_traits, user_changes, write_traits

# Work w plays 10 + w s. User 1 never comes with the first arm; user 4 loses, user 2 wins, 0 and 3 are equal.
OLD = [(1, 0, 0), (1, 2, 0), (1, 3, 2), (1, 4, 4)]
NEW = [(1, 0, 0), (1, 1, 0), (1, 2, 3), (1, 3, 2), (1, 4, 0)]


def test_user_changes_are_fractions_of_users_with_play():
    changes = user_changes(sums_of(arm(shown=NEW)), sums_of(arm(shown=OLD)), {})
    assert changes == {"worse": 0.25, "better": 0.25, "worse_an_impression": 0.25}


def test_user_changes_split_by_quarters_of_a_trait():
    traits = {"activity": np.array([3.0, 9.0, 2.0, 1.0, 5.0, 0.0])}
    changes = user_changes(sums_of(arm(shown=NEW)), sums_of(arm(shown=OLD)), traits)
    assert (changes["worse_low_activity"], changes["worse_high_activity"]) == (0.0, 1.0)


def test_more_pages_do_not_hide_a_worse_impression():
    old, new = arm(shown=[(1, 0, 4)]), arm(shown=[(0, 0, 0), (1, 0, 0)])
    changes = user_changes(sums_of(new), sums_of(old), {})
    assert (changes["worse"], changes["worse_an_impression"]) == (0.0, 1.0)


def test_user_changes_are_unknown_if_no_user_came():
    assert user_changes(sums_of(arm(shown=NEW)), sums_of(arm()), {})["worse"] is None


def test_traits_are_those_of_the_weeks_before(tmp_path):
    population = make_population(Sizes(works=600, users=60, exposures=2_000, days=1, seed=0))
    write_traits(tmp_path, population)
    traits = read_traits(tmp_path)
    assert traits["activity"].sum() == len(population.world.dataset.exposures)
    rare = traits["rare_taste"]
    assert 0 <= rare.min() < rare.max() <= 1 and 0.2 < rare.mean() < 0.8
    assert read_traits(tmp_path / "other") == {}
