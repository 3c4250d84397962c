"""Random order as a scorer."""

from dataclasses import replace

import numpy as np

from karec.lab.simulate.random_order import RandomOrder
from karec.pipeline.types import Candidates, Request


def test_random_order_depends_on_user_and_time_only():
    works = Candidates.from_ids(np.arange(1000))
    asked = Request(7, time_ms=5)
    once = RandomOrder().score(asked, works)
    np.testing.assert_array_equal(once, RandomOrder().score(asked, works))
    for other in (replace(asked, user_id=8), replace(asked, time_ms=6), replace(asked, user_id=-7)):
        assert not np.array_equal(once, RandomOrder().score(other, works))
    np.testing.assert_allclose(np.histogram(once, 5, (0, 1))[0] / 1000, 0.2, atol=0.05)
