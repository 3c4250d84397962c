"""Rows keyed by id: the works and the users of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from karec.types import Array

DENSE = 8  # ids that span at most so many times their number are found by a table of all of them
MANY = 8  # where a lookup asks for an eighth of the rows or more


@dataclass(frozen=True, eq=False)
class Table:
    """R rows: unique ``ids (R,) int64`` in any order, and ``columns`` {name: (R,)}; ``karec.platform.schema`` says what
    a column's name and dtype mean. Raises ValueError for a column of another length and for a repeated id.
    """

    ids: Array
    columns: Mapping[str, Array]
    _order: Array | None = field(init=False, repr=False)  # None: ids ascend

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise ValueError(f"column {name!r} has {len(column)} rows, ids has {len(self.ids)}")
        ascends = bool((self.ids[1:] > self.ids[:-1]).all())
        order = None if ascends else np.argsort(self.ids, kind="stable")
        ordered = self.ids if order is None else self.ids[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(repeated):
            raise ValueError(f"ids must be unique, {int(ordered[repeated[0]])} stands twice")
        object.__setattr__(self, "_order", order)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def take(self, selector: Array) -> Table:
        """The rows at ``selector`` (indices or a boolean mask)."""
        return Table(self.ids[selector], {name: column[selector] for name, column in self.columns.items()})

    def lookup(self, ids: Array) -> Array:
        """(N,) int64 row of each id, −1 for an unknown one. O(N log R); of many ids that lie densely O(N + R)."""
        wanted = np.asarray(ids, dtype=np.int64)
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int64)
        order = self._order
        least, most = (int(self.ids[at if order is None else order[at]]) for at in (0, -1))
        if len(wanted) * MANY >= len(self.ids) and most - least < DENSE * len(self.ids):
            return self._lookup_dense(wanted, least, most)
        at = np.minimum(np.searchsorted(self.ids, wanted, sorter=order), len(self.ids) - 1)
        rows = at if order is None else order[at]
        return np.where(self.ids[rows] == wanted, rows, -1)

    def _lookup_dense(self, wanted: Array, least: int, most: int) -> Array:
        row_of = np.full(most - least + 2, -1, np.int32)  # the last one is of all ids outside
        row_of[self.ids - least] = np.arange(len(self.ids))
        inside = (wanted >= least) & (wanted <= most)
        return row_of[np.where(inside, wanted - least, -1)].astype(np.int64)
