"""The simple test sorts items by the scores of their own arm; the merge does not lift all treated items."""

import numpy as np
import pytest
from thirty_works import candidates, thirty_works

from karec.lab.studies.creator_side import (
    Boost,
    Estimate,
    OwnScores,
    PatchResult,
    adjust,
    creator_side_table,
    estimate,
)
from karec.pipeline.creator_arms import CreatorArms
from karec.pipeline.types import Request


def positions(kind, add):
    """Positions of 30 works, of which creators 0 to 2 have their scores boosted by ``add``."""
    items = candidates(range(30))
    request = Request(1, 30, request_id="r", view=thirty_works().pinned())
    arms = kind("creator_id", lambda creators: (creators < 3).astype(np.int64), 0, ((),))
    boosted = items.with_scores(Boost(add).score(request, items))
    merged, n_items = arms.merge(request, items, [boosted])
    assert n_items == [16, 14]
    return np.argsort(np.argsort(-merged.scores, kind="stable"))


def test_boost_of_all_scores_moves_items_only_in_the_simple_test():
    is_treated = np.arange(30) % 7 < 3
    simple, merged = positions(OwnScores, 5.0), positions(CreatorArms, 5.0)
    assert sorted(simple[is_treated]) == list(range(14))
    assert merged.tolist() == list(range(30))


def test_estimate_is_the_difference_of_means_with_welchs_interval():
    rng = np.random.default_rng(0)
    n_containing = 0
    for _ in range(300):
        one = estimate(rng.normal(1.0, 2.0, 40), rng.normal(0.5, 0.5, 90))
        n_containing += one.low <= 0.5 <= one.high
    assert 0.91 < n_containing / 300 < 0.99
    values = np.array([1.0, 3.0]), np.array([1.0, 1.0, 4.0])
    assert estimate(*values).difference == pytest.approx(0.0)


def test_adjusted_outcomes_keep_their_mean_and_lose_the_covariate():
    rng = np.random.default_rng(1)
    before = rng.gamma(0.3, 1.0, 500)
    outcomes = 2 * before + rng.normal(size=500)
    adjusted = adjust(outcomes, before)
    assert adjusted.mean() == pytest.approx(outcomes.mean())
    assert np.corrcoef(adjusted, before)[0, 1] == pytest.approx(0, abs=1e-12)


def test_table_counts_intervals_that_contain_the_truth():
    estimates = [Estimate(0.5, -0.5, 1.5), Estimate(2.0, 1.2, 2.8)]
    table = creator_side_table([PatchResult("p", 2.0, 3.0, estimates, estimates)], 10, 5)
    assert [row[-1] for row in table.rows] == ["", "1 of 2", "1 of 2"]
    assert table.rows[0][2] == "+50.0 %" and table.rows[1][2:4] == ("+62.5 %", "+12.5")
