"""Fusion of logits into one score."""

import re

import numpy as np
import pytest

from karec.errors import ContractError
from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.fusion import Fusion


@pytest.mark.parametrize(("kind", "fused"), [({}, 0.4), ({"kind": "product"}, 0.75**0.3 * 0.25**0.7)])
def test_fusion_reads_logits_in_the_order_of_the_tasks(ranker, kind, fused):
    step = Fusion(ranker, {"like": 7.0, "click": 3.0}, **kind)
    logits = np.float32([[np.log(3.0), -np.log(3.0)]])  # probabilities .75 of click, .25 of like
    scores = step.score(Request(1), Candidates.from_ids(np.arange(1), logits=logits))
    np.testing.assert_allclose(scores, [fused], rtol=1e-4)
    assert step.needs == ("column.logits",)


def test_fusion_with_a_share_adds_the_score_before_it(ranker):
    """Both are standardised, so their scales do not matter."""
    step = Fusion(ranker, {"like": 1.0}, share=0.25)
    logits = np.float32([[0.0, 1.0], [0.0, -1.0]])
    items = Candidates.from_ids(np.arange(2), logits=logits).with_scores(np.float32([10.0, 30.0]))
    np.testing.assert_allclose(step.score(Request(1), items), [-0.75 + 0.25, 0.75 - 0.25], rtol=1e-6)
    assert step.needs == ("column.logits", "scores")
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got 0"):
        Fusion(ranker, {"like": 1.0}, share=0)


def test_fusion_rejects_weights_of_unknown_tasks(ranker):
    with pytest.raises(
        ValueError, match=re.escape("fusion weighs ['gift'], which the ranker does not predict")
    ):
        Fusion(ranker, {"gift": 1.0})


def test_fusion_names_the_missing_ranker(ranker):
    with pytest.raises(
        ContractError, match=r"^fusion needs the ranker's logits: put the step ranker before it$"
    ):
        Fusion(ranker, {"click": 1.0}).score(Request(1), Candidates.from_ids(np.arange(1)))


@pytest.mark.parametrize("n", [1, 3])
def test_fusion_rejects_logits_of_another_model(ranker, n):
    with pytest.raises(ContractError, match=rf"the ranker gave \({n},\) of an item: let both steps take"):
        Fusion(ranker, {"click": 1.0}).score(
            Request(1), Candidates.from_ids(np.arange(1), logits=np.zeros((1, n)))
        )
