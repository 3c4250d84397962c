"""Feedback is drawn from the true probabilities."""

import numpy as np
import pytest

from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.feedback import feedback_labels
from karec.lab.simulate.world.tastes import TASKS, pair_uniform


@pytest.fixture(scope="module")
def world():
    return make_world(600, 60, 2_000, seed=3)


def test_feedback_has_the_true_probabilities_along_the_funnel(world):
    works = np.tile(np.arange(600), 60)
    users = np.repeat(np.arange(60), 600)
    probabilities = world.truth.probabilities(users, works)
    coins = {task: pair_uniform(users, works, 77 + n) for n, task in enumerate(TASKS)}
    labels = feedback_labels(probabilities, coins)
    for task in TASKS:
        expected = float(probabilities[task].mean())
        assert abs(float(labels[task].mean()) - expected) < 5 * np.sqrt(expected / len(users)), task
    assert not (labels["like"] > labels["long_view"]).any()
    assert not (labels["long_view"] > labels["click"]).any()


def test_pair_uniform_is_uniform():
    u = pair_uniform(np.repeat(np.arange(300), 300), np.tile(np.arange(300), 300), 5)
    assert u.min() >= 0 and u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / len(u), 0.1, atol=0.005)
