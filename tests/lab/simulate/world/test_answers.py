"""Feedback to served pages is drawn from the true probabilities, equal in every cascade."""

import numpy as np
import pytest

from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.answers import answers, outcomes
from karec.lab.simulate.world.tastes import TASKS, pair_uniform
from karec.pipeline.types import Candidates, Page, Request


@pytest.fixture(scope="module")
def world():
    return make_world(600, 60, 2_000, seed=3)


def feed(world, user, works, time_ms=None):
    snapshot = world.dataset.snapshot
    time_ms = world.dataset.valid_until_ms if time_ms is None else time_ms
    asked = Request(int(snapshot.users.ids[user]), scene="home", time_ms=time_ms)
    return Page(asked, Candidates.from_ids(np.asarray(snapshot.works.ids)[works]), trace=None)


def test_answers_have_the_moment_and_works_of_the_page(world):
    feeds = [feed(world, 3, np.arange(5)), feed(world, 4, np.arange(7, 10))]
    answered = answers(world.truth, world.dataset.snapshot, feeds)
    assert answered.user_id.tolist() == [feeds[0].request.user_id] * 5 + [feeds[1].request.user_id] * 3
    np.testing.assert_array_equal(answered.work_id, np.concatenate([each.candidates.ids for each in feeds]))
    assert set(answered.time_ms) == {world.dataset.valid_until_ms} and set(answered.labels) == set(TASKS)
    home = world.dataset.snapshot.labels["scene"].index("home")
    assert set(answered.scene) == {home}


def test_answers_are_equal_for_a_user_and_work_on_any_page(world):
    """Works of distinct tags, so that no repetition in the feed changes a chance."""
    tags = np.asarray(world.dataset.snapshot.works["tag"])
    works = np.unique(tags, return_index=True)[1][:8]
    one, other = (
        answers(world.truth, world.dataset.snapshot, [feed(world, 5, w)]) for w in (works, works[::-1])
    )
    for task in TASKS:
        np.testing.assert_array_equal(one.labels[task], other.labels[task][::-1])


def test_outcomes_have_the_true_probabilities_and_the_funnel(world):
    works = np.tile(np.arange(600), 60)
    users = np.repeat(np.arange(60), 600)
    chances = world.truth.probabilities(users, works)
    coins = {task: pair_uniform(users, works, 77 + at) for at, task in enumerate(TASKS)}
    did = outcomes(chances, coins)
    for task in TASKS:
        expected = float(chances[task].mean())
        assert abs(float(did[task].mean()) - expected) < 5 * np.sqrt(expected / len(users)), task
    assert not (did["like"] > did["long_view"]).any() and not (did["long_view"] > did["click"]).any()


def test_pair_uniform_is_uniform():
    u = pair_uniform(np.repeat(np.arange(300), 300), np.tile(np.arange(300), 300), 5)
    assert u.min() >= 0 and u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / len(u), 0.1, atol=0.005)


def test_answers_of_no_page_are_empty(world):
    assert len(answers(world.truth, world.dataset.snapshot, [])) == 0
