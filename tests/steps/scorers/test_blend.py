"""Blend of the tower score and smoothed rates. On the platform of conftest.py later items have more views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.blend import Blend, standardise
from karec.steps.scorers.live_indicators import LiveIndicators


def blended(platform, share, ids, scores):
    step = Blend(platform, share, {"long_view": 1.0})
    return step.score(Request(1), Candidates.from_ids(np.array(ids), np.array(scores, np.float32)))


def test_blend_orders_by_scores_at_share_0_and_rates_at_1(platform):
    ids, scores = [100, 103, 108, 101], [0.3, 0.9, 0.1, 0.5]
    assert np.argsort(-blended(platform, 0.0, ids, scores)).tolist() == np.argsort(-np.array(scores)).tolist()
    rates = LiveIndicators(platform, {"long_view": 1.0}).score(Request(1), Candidates.from_ids(np.array(ids)))
    assert np.argsort(-blended(platform, 1.0, ids, scores)).tolist() == np.argsort(-rates).tolist()


@given(share=st.floats(0, 1), scale=st.floats(0.01, 1e4), offset=st.floats(-1e3, 1e3))
def test_blend_ignores_scale_and_offset_of_scores(share, scale, offset):
    scores = np.array([0.25, 1.0, -0.5, 2.0])
    np.testing.assert_allclose(standardise(scores * scale + offset), standardise(scores), atol=1e-6)
    assert abs(standardise(scores).mean()) < 1e-12
    assert standardise(scores).std() == pytest.approx(1.0)


def test_blend_gives_zeros_for_equal_scores(platform):
    rates = blended(platform, 1.0, [100, 103, 108], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(
        blended(platform, 0.5, [100, 103, 108], [7.0, 7.0, 7.0]), 0.5 * rates, rtol=1e-6
    )
    assert len(blended(platform, 0.5, np.empty(0, np.int64), [])) == 0


def test_blend_rejects_wrong_shares_and_labels(platform):
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got -0.1"):
        Blend(platform, -0.1)
    with pytest.raises(
        ValueError, match=r"live indicators of \['sung'\]: works count \['exposed', 'long_view'\]"
    ):
        Blend(platform, 0.5, {"sung": 1.0})
