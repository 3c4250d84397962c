"""Items with the best live indicators."""

import numpy as np
import pytest

from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.live_indicators import LiveIndicators
from karec.steps.sources.indicators import Indicators

UNKNOWN_USER = Request(user_id=999)


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_indicators_equal_those_of_the_scorer(platform):
    step = LiveIndicators(platform, {"long_view": 1.0})
    every = Candidates.from_ids(platform.works.ids)
    order = np.argsort(-step.score(UNKNOWN_USER, every), kind="stable")
    assert ids_of(Indicators(platform, 4, {"long_view": 1.0})) == platform.works.ids[order[:4]].tolist()
    assert (
        Indicators(platform, 4, {"long_view": 1.0}).rates is Indicators(platform, 5, {"long_view": 1.0}).rates
    )
    with pytest.raises(
        ValueError, match=r"live indicators of \['smile'\]: works count \['exposed', 'long_view'\]"
    ):
        Indicators(platform, 4, {"smile": 1.0})
