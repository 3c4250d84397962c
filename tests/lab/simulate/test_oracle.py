"""The ranker of true probabilities."""

from dataclasses import dataclass

import numpy as np
import pytest

from karec.lab.simulate.oracle import Oracle
from karec.lab.simulate.population import Sizes, make_population
from karec.pipeline.types import Candidates, Request


@dataclass
class Model:
    tasks: tuple = ("like", "play_time")


@pytest.fixture(scope="module")
def population():
    return make_population(Sizes(works=600, users=60, exposures=2_000, days=1, seed=0))


def logits_of(population, share):
    step = Oracle(Model(), share)
    step.population = population
    ids, rows = population.snapshot.works.ids[:50], np.arange(50)
    old = np.full((50, 2), 3.0, np.float32)
    candidates = Candidates.from_ids(ids).with_columns({"logits": old})
    request = Request(int(population.snapshot.users.ids[4]), time_ms=population.first_ms)
    p = population.truth.probabilities(np.full(50, 4), rows, time_ms=population.first_ms)["like"]
    return step.hydrate(request, candidates)["logits"], p.astype(np.float64)


def test_oracle_has_the_true_probabilities(population):
    logits, p = logits_of(population, 1.0)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), p, rtol=1e-3)


def test_oracle_keeps_logits_of_tasks_without_a_truth(population):
    np.testing.assert_array_equal(logits_of(population, 1.0)[0][:, 1], 3.0)


def test_oracle_with_a_share_is_between_ranker_and_truth(population):
    logits, p = logits_of(population, 0.5)
    np.testing.assert_allclose(logits[:, 0], (3.0 + np.log(p / (1 - p))) / 2, rtol=1e-3, atol=1e-3)
