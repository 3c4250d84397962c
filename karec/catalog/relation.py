"""Lists of ids, one for each row of a table: items that a user watched, creators that a user follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Relation:
    """R lists of int64 ids in CSR form: row r has ``values[indptr[r]:indptr[r + 1]]``, oldest first.

    indptr  (R + 1,) int64
    values  (M,) int64
    times   (M,) Unix ms, 0 for entries older than the records. None: all unknown
    scenes  (M,) codes of scenes, −1 if unknown. None: all unknown

    Raises ValueError if the lengths do not fit or ``indptr`` falls. O(R).
    """

    indptr: NDArray[Any]
    values: NDArray[Any]
    times: NDArray[Any] | None = None
    scenes: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not len(self.indptr) or self.indptr[0] != 0 or self.indptr[-1] != len(self.values):
            bounds = f"{self.indptr[0]} … {self.indptr[-1]}" if len(self.indptr) else "nothing"
            raise ValueError(f"indptr holds {bounds}, expected 0 … {len(self.values)}, the number of values")
        falls = np.flatnonzero(self.indptr[1:] < self.indptr[:-1])
        if len(falls):
            at = int(falls[0])
            raise ValueError(f"indptr falls from {self.indptr[at]} to {self.indptr[at + 1]} after row {at}")
        for name, entries in (("times", self.times), ("scenes", self.scenes)):
            if entries is not None and len(entries) != len(self.values):
                raise ValueError(f"{name} has {len(entries)} entries, values has {len(self.values)}")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row_values(self, row: int) -> NDArray[Any]:
        """Returns the ids of one row, a view."""
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    def take_rows(self, is_kept: NDArray[Any]) -> Self:
        """Returns the rows of the mask ``is_kept`` (R,), in their order."""
        lengths = np.diff(self.indptr)
        kept, indptr = np.repeat(is_kept, lengths), np.append(0, np.cumsum(lengths[is_kept]))
        optional = (None if part is None else part[kept] for part in (self.times, self.scenes))
        return type(self)(indptr, self.values[kept], *optional)

    @classmethod
    def from_pairs(
        cls, rows: NDArray[Any], values: NDArray[Any], n_rows: int, times: NDArray[Any] | None = None
    ) -> Relation:
        """Groups (row, value) pairs by row. A row is ordered by time, then by input position. O(M log M)."""
        order = np.argsort(rows, kind="stable") if times is None else np.lexsort((np.asarray(times), rows))
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])
        return cls(
            indptr, np.asarray(values, np.int64)[order], None if times is None else np.asarray(times)[order]
        )
