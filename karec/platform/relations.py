"""Lists of ids for each row of a table: what a user watched, whom they follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.types import Array


@dataclass(frozen=True, eq=False)
class Relation:
    """For each row of one table, a list of ids (CSR): ``values[indptr[r]:indptr[r+1]]``, oldest first.

    ``times`` (Unix ms, same length as values) where moments are known; 0 = before records began.
    """

    indptr: Array
    values: Array
    times: Array | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, row: int) -> Array:
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    @classmethod
    def from_pairs(cls, rows: Array, values: Array, n_rows: int, times: Array | None = None) -> Relation:
        """Group (row, value) pairs by row; within a row ordered by time, then by input order. O(M log M)."""
        order = np.argsort(rows, kind="stable") if times is None else np.lexsort((np.asarray(times), rows))
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])
        return cls(indptr, np.asarray(values, np.int64)[order], None if times is None else np.asarray(times)[order])
