"""Rows keyed by id: the works and the users of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.once import computed_once

DENSE = 8  # ids that span at most so many times their number are found by a table of all of them


@dataclass(frozen=True, eq=False)
class Table:
    """R rows: unique ``ids (R,) int64`` in any order, and ``columns`` {name: (R,)}; ``karec.catalog.schema``
    says what a column's name and dtype mean. Raises ValueError for a column of another length and for a
    repeated id.
    """

    ids: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]
    _order: NDArray[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise ValueError(f"column {name!r} has {len(column)} rows, ids has {len(self.ids)}")
        order = np.argsort(self.ids, kind="stable")
        ordered = self.ids[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(repeated):
            raise ValueError(f"ids must be unique, {int(ordered[repeated[0]])} stands twice")
        object.__setattr__(self, "_order", order)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, selector: NDArray[Any]) -> Table:
        """The rows at ``selector`` (indices or a boolean mask)."""
        return Table(self.ids[selector], {name: column[selector] for name, column in self.columns.items()})

    def lookup(self, ids: NDArray[Any]) -> NDArray[Any]:
        """(N,) int64 row of each id, −1 for an unknown one. O(N log R), and O(N) where the ids lie densely:
        the first call then makes a table of all that they span, at most 32 B a row.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int64)
        if self._row_of is not None:
            least, most = self._ends
            known = (wanted >= least) & (wanted <= most)
            return self._row_of.take(np.where(known, wanted - least, -1)).astype(np.int64)
        at = np.searchsorted(self.ids, wanted, sorter=self._order)
        rows = self._order[np.minimum(at, len(self.ids) - 1)]
        return np.where(self.ids[rows] == wanted, rows, -1)

    def row(self, id: int) -> int:
        """The row of one id, −1 for an unknown one, as ``lookup`` finds it: a tenth of its time."""
        if not len(self.ids):
            return -1
        least, most = self._ends
        if not least <= id <= most:
            return -1
        if self._row_of is not None:
            return int(self._row_of[id - least])
        return int(self.lookup(np.array([id]))[0])

    @computed_once
    def _ends(self) -> tuple[int, int]:
        """The least and the largest id."""
        return int(self.ids[self._order[0]]), int(self.ids[self._order[-1]])

    @computed_once
    def _row_of(self) -> NDArray[Any] | None:
        """(span + 1,) int32: the row of each id from the least to the largest, and −1 at the end; None for
        ids that span more than DENSE times their number.
        """
        least, most = self._ends
        if most - least >= DENSE * len(self.ids):
            return None
        row_of = np.full(most - least + 2, -1, np.int32)
        row_of[self.ids - least] = np.arange(len(self.ids), dtype=np.int32)
        return row_of
