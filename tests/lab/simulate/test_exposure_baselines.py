"""Steps of the lab that stand for other exposure policies."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.lab.simulate.popularity_penalty import PopularityPenalty
from karec.lab.simulate.score_noise import ScoreNoise
from karec.pipeline.types import Candidates, Request

REQUEST = Request(7, time_ms=5, request_id="a")
WORKS = Candidates.from_ids(np.arange(2_000), np.linspace(0, 1, 2_000))


class Shop:
    works = Table(np.arange(2_000), {"count_exposed": np.arange(2_000.0)})


def test_score_noise_has_the_deviation_of_its_weight():
    noise = ScoreNoise(0.5).score(REQUEST, WORKS) - WORKS.scores
    assert noise.std() == pytest.approx(0.5 * WORKS.scores.std(), rel=0.1)
    assert abs(noise.mean()) < 0.02


def test_score_noise_depends_on_the_request_only():
    first = ScoreNoise(1.0).score(REQUEST, WORKS)
    np.testing.assert_array_equal(first, ScoreNoise(1.0).score(REQUEST, WORKS))
    assert not np.array_equal(first, ScoreNoise(1.0).score(replace(REQUEST, request_id="b"), WORKS))


def test_score_noise_changes_its_share_of_requests():
    step = ScoreNoise(1.0, share=0.3)
    changed = [
        not np.array_equal(step.score(replace(REQUEST, request_id=str(n)), WORKS), WORKS.scores)
        for n in range(300)
    ]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.1)


def test_popularity_penalty_lowers_works_with_many_impressions():
    equal = Candidates.from_ids(np.array([3, 1_500, 40]), np.array([0.5, 0.5, 0.5]))
    np.testing.assert_array_equal(PopularityPenalty(Shop, 1.0).score(REQUEST, equal), equal.scores)
    scores = PopularityPenalty(Shop, 10.0).score(REQUEST, WORKS)
    assert (np.diff(scores) < 0).all()


@pytest.mark.parametrize("setting", [{"weight": 0.0}, {"weight": 1.0, "share": 1.5}])
def test_score_noise_rejects_values_out_of_range(setting):
    with pytest.raises(ValueError, match="expected weight > 0 and share"):
        ScoreNoise(**setting)
