"""Coverage of off-policy intervals in a known world."""

import numpy as np
import pytest

from karec.lab.simulate.world import make_world
from karec.lab.studies.off_policy import LOGGED, TARGET, Pool, coverage_table, measure_coverage


@pytest.fixture(scope="module")
def world():
    return make_world(1_000, 300, 6_000, seed=0)


def test_intervals_of_off_policy_estimates_contain_the_truth(world):
    report = measure_coverage(world, draws=200, users=400, n=8, k=5, seed=0)
    assert report["requests"] == 1_600 and report["gain"]["like"] > 0
    for row in report["rows"]:
        assert abs(row["bias"]) < 4
        if row["label"] == "click":
            assert row["page"] >= 0.92 and row["gain"] >= 0.92
            assert len(row["positions"]) == 5 and np.mean(row["positions"]) >= 0.92
    assert len(coverage_table(report).rows) == len(report["rows"]) == 6


def test_truth_of_the_pool_is_the_mean_outcome_of_drawn_pages(world):
    pool, k = Pool.from_world(world, n_requests=4, n=6, seed=1), 3
    truth = pool.truth(TARGET, k)
    pages = pool.draw(20_000, k, np.random.default_rng(2))
    order = np.argsort(-TARGET(pages.logits, pages.tasks).reshape(-1, 6), axis=1, kind="stable")
    is_match = pages.shown - pages.starts[:-1, None] == order[:, :k]
    measured = [pages.outcomes[is_match[:, p], p].mean(axis=0) for p in range(k)]
    error = np.sqrt(truth[:k] / is_match.sum(axis=0)[:, None])
    assert (np.abs(measured - truth[:k]) < 4 * error).all()
    assert truth[k] == pytest.approx(truth[:k].sum(axis=0))
    assert (pool.truth(LOGGED, k)[k] != truth[k]).all()
