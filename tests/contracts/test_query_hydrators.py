"""Contract of query hydrators: the features that they add to a request."""

from __future__ import annotations

import numpy as np
from step_contract import ASKED, Contract, Watched

from karec.bundle import Bundle
from karec.pipeline.cascade import Cascade


class TestQueryHydrators(Contract):
    role = "query_hydrator"

    def check(self, watched: Watched, bundle: Bundle) -> None:
        """The step gives the features that it declares, finite, of one shape and dtype for all users."""
        given = {name: array for name, array in watched.before.copies.items() if name in watched.step.gives}
        assert given.keys() == set(watched.step.gives)
        for name, array in given.items():
            assert array.ndim > 0 and len(array) == 1, name
            assert array.dtype in (np.int64, np.float32, np.bool_), name
            assert np.isfinite(array).all(), name

    def test_unknown_user_gets_the_shapes_of_a_known_user(
        self, cascade: Cascade, use: str, bundle: Bundle
    ) -> None:
        known, unknown = (
            self.watch(cascade, use, ASKED[name], bundle) for name in ("every item", "an unknown user")
        )
        for name in known.step.gives:
            one, other = known.before.copies[name], unknown.before.copies[name]
            assert (one.shape, one.dtype) == (other.shape, other.dtype), name
