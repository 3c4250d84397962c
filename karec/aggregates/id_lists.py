"""What a fold of lists gives: a list of ids for each row. Serving reads it too, and loads no compiler for
it."""

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
    def unchanged(cls, relation: Relation | None, rows: NDArray[Any]) -> Lists:
        """Of ``rows (N,)`` what a relation holds that no exposure changes; empty where there is no such
        relation."""
        if relation is None:
            nothing = np.zeros(len(rows), np.int64)
            return cls(np.empty(0, np.int64), nothing, nothing)
        indptr = np.asarray(relation.indptr, np.int64)
        return cls(np.asarray(relation.values, np.int64), indptr[rows], indptr[rows + 1])

    def take(self, rows: NDArray[Any]) -> Lists:
        return Lists(self.values, self.starts[rows], self.ends[rows])

    def latest(self, width: int) -> NDArray[Any]:
        """(N, width) int64: the last entries, newest first, padded with −1."""
        return padded_histories(self.values, self.starts, self.ends, width)
