"""Satiation counts what was shown just before, and lowers what is wanted of the like."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.satiation import FORMER, Repeat, Satiation, repeats_of

BOTH = Satiation(creator=Repeat(8, click=0.1, long_view=0.3, like=0.2), tag=Repeat(4, click=0.25))


@pytest.fixture(scope="module")
def truth():
    return make_world(600, 60, 2_000, seed=3).truth


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=30), st.integers(0, 40))
def test_repeats_are_counted_among_the_users_last_works(shown, window):
    user, value = (np.array([row[at] for row in shown], np.int64) for at in (0, 1))
    expected = []
    for at in range(len(shown)):
        before = [value[i] for i in range(at) if user[i] == user[at]]
        expected.append(before[-window:].count(value[at]) if window else 0)
    assert repeats_of(user, value, window).tolist() == expected


def test_each_repeat_takes_its_effect_from_the_logit():
    logits = np.array([0.5, -1.0], np.float32)
    repeats = {"creator": np.array([2, 0]), "tag": np.array([1, 3])}
    np.testing.assert_allclose(
        BOTH.lowered("click", logits, repeats), [0.5 - 0.2 - 0.25, -1.0 - 0.75], rtol=1e-6
    )
    np.testing.assert_allclose(BOTH.lowered("long_view", logits, repeats), [0.5 - 0.6, -1.0], rtol=1e-6)
    np.testing.assert_array_equal(BOTH.lowered("follow", logits, repeats), logits)


def test_none_of_it_changes_nothing_and_twice_as_much_acts_twice(truth):
    users, works, repeats = np.arange(5), np.arange(5), {"tag": np.full(5, 3), "creator": np.full(5, 2)}
    logits = {}
    for scale in (0.0, 1.0, 2.0):
        world = replace(truth, satiation=replace(BOTH, scale=scale))
        chance = world.probabilities(users, works, repeats=repeats)["click"].astype(float)
        logits[scale] = np.log(chance / (1 - chance))
    fresh = truth.probabilities(users, works)["click"].astype(float)
    np.testing.assert_allclose(logits[0.0], np.log(fresh / (1 - fresh)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits[0.0] - logits[2.0], 2 * (logits[0.0] - logits[1.0]), rtol=1e-4)
    np.testing.assert_allclose(logits[0.0] - logits[1.0], 0.1 * 2 + 0.25 * 3, rtol=1e-4)


def test_worlds_begin_with_four_works_of_a_tag():
    assert FORMER.window == 4
    assert FORMER.tag.effect("click") == 0.25 and not FORMER.creator.effect("click")
    assert not FORMER.tag.effect("long_view") and not FORMER.tag.effect("gift")


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_scale_below_zero_is_refused(scale):
    with pytest.raises(ValueError, match="scale of satiation"):
        replace(FORMER, scale=scale)
