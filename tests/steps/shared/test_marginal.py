"""The MMR and SSD steps: arguments of mmr_select and ssd_select."""

import numpy as np
import pytest
from thirty_works import candidates, selected, thirty_works

from karec.diversity import mmr_select, ssd_select, standardise_scores
from karec.pipeline.types import Request
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.ssd import Ssd

REQUEST = Request(user_id=1, k=4)


@pytest.fixture
def index():
    return thirty_works()


@pytest.mark.parametrize(("step", "select"), [(Mmr, mmr_select), (Ssd, ssd_select)])
def test_marginal_steps_equal_the_selections_of_standardised_scores(index, step, select):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    request = Request(user_id=1, k=6, shown=(3, 999))
    chosen = selected(step(index.schema, diversity=0.7, window=4), request, c, index).indices
    vectors = index.embeddings(c.rows)
    expected = select(vectors, standardise_scores(c.scores), 6, diversity=0.7, window=4, shown=vectors[3:4])
    np.testing.assert_array_equal(chosen, expected.indices)
    assert len(selected(step(index.schema), REQUEST, candidates([]), index).indices) == 0


@pytest.mark.parametrize("step", [Mmr, Ssd])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"k": 0}, "k must be positive, got 0"),
        ({"diversity": 2.0}, r"diversity must lie in \[0, 1\]"),
        ({"window": 0}, "window must be positive, got 0"),
    ],
)
def test_marginal_steps_reject_settings_out_of_range(index, step, setting, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        step(index.schema, **setting)
