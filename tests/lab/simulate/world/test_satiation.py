"""Satiation counts the works shown just before and lowers the logits of similar ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.satiation import KUAIRAND, Repeat, Satiation, count_repeats

BOTH = Satiation(creator=Repeat(8, click=0.1, long_view=0.3, like=0.2), tag=Repeat(4, click=0.25))


@pytest.fixture(scope="module")
def truth():
    return make_world(600, 60, 2_000, seed=3).truth


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=30), st.integers(0, 40))
def test_repeats_are_counted_among_the_users_last_works(rows, window):
    user, value = (np.array([row[column] for row in rows], np.int64) for column in (0, 1))
    expected = []
    for n in range(len(rows)):
        earlier = [value[i] for i in range(n) if user[i] == user[n]]
        expected.append(earlier[-window:].count(value[n]) if window else 0)
    assert count_repeats(user, value, window).tolist() == expected


def test_repeats_reduce_the_logit_by_their_effect():
    logits = np.array([0.5, -1.0], np.float32)
    repeats = {"creator": np.array([2, 0]), "tag": np.array([1, 3])}
    np.testing.assert_allclose(
        BOTH.apply("click", logits, repeats), [0.5 - 0.2 - 0.25, -1.0 - 0.75], rtol=1e-6
    )
    np.testing.assert_allclose(BOTH.apply("long_view", logits, repeats), [0.5 - 0.6, -1.0], rtol=1e-6)
    np.testing.assert_array_equal(BOTH.apply("follow", logits, repeats), logits)


def test_satiation_effect_is_linear_in_scale(truth):
    users, works, repeats = np.arange(5), np.arange(5), {"tag": np.full(5, 3), "creator": np.full(5, 2)}
    logits = {}
    for scale in (0.0, 1.0, 2.0):
        world = replace(truth, satiation=replace(BOTH, scale=scale))
        probability = world.probabilities(users, works, repeats=repeats)["click"].astype(float)
        logits[scale] = np.log(probability / (1 - probability))
    fresh = truth.probabilities(users, works)["click"].astype(float)
    np.testing.assert_allclose(logits[0.0], np.log(fresh / (1 - fresh)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits[0.0] - logits[2.0], 2 * (logits[0.0] - logits[1.0]), rtol=1e-4)
    np.testing.assert_allclose(logits[0.0] - logits[1.0], 0.1 * 2 + 0.25 * 3, rtol=1e-4)


def test_default_satiation_counts_four_works_of_a_tag():
    assert KUAIRAND.window == 4
    assert KUAIRAND.tag.effect("click") == 0.07 and not KUAIRAND.creator.effect("click")
    assert not any(KUAIRAND.tag.effect(task) for task in ("long_view", "like", "follow", "gift"))


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_satiation_rejects_a_negative_scale(scale):
    with pytest.raises(ValueError, match=r"satiation\.scale is"):
        replace(KUAIRAND, scale=scale)
