"""Lists of ids, one for each row of a query. Serving imports this module and must not load Numba."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.relation import Relation
from karec.kernels.histories import padded_histories


@dataclass(frozen=True, eq=False)
class Lists:
    """N lists of ids: ``values[starts[n]:ends[n]]``, oldest first."""

    values: NDArray[Any]
    starts: NDArray[Any]
    ends: NDArray[Any]

    @classmethod
    def from_relation(cls, relation: Relation | None, rows: NDArray[Any]) -> Lists:
        """Returns the lists of ``rows`` (N,) of a relation, empty without a relation."""
        if relation is None:
            zeros = np.zeros(len(rows), np.int64)
            return cls(np.empty(0, np.int64), zeros, zeros)
        indptr = np.asarray(relation.indptr, np.int64)
        return cls(np.asarray(relation.values, np.int64), indptr[rows], indptr[rows + 1])

    def take(self, rows: NDArray[Any]) -> Lists:
        return Lists(self.values, self.starts[rows], self.ends[rows])

    def latest(self, width: int) -> NDArray[Any]:
        """Returns (N, width) int64, the last entries, newest first, padded with −1."""
        return padded_histories(self.values, self.starts, self.ends, width)
