"""Random order as a scorer."""

from dataclasses import replace

import numpy as np

from karec.lab.simulate.random_order import RandomOrder
from karec.pipeline.types import Candidates, Request


def test_random_order_depends_on_user_and_time_only():
    works = Candidates.from_ids(np.arange(1000))
    request = Request(7, time_ms=5)
    scores = RandomOrder().score(request, works)
    np.testing.assert_array_equal(scores, RandomOrder().score(request, works))
    for change in ({"user_id": 8}, {"time_ms": 6}, {"user_id": -7}):
        assert not np.array_equal(scores, RandomOrder().score(replace(request, **change), works))
    np.testing.assert_allclose(np.histogram(scores, 5, (0, 1))[0] / 1000, 0.2, atol=0.05)
