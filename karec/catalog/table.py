"""Table of rows by id: the items or the users of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.once import computed_once

DENSE = 8  # ids whose span is at most this multiple of their number are looked up in an array


@dataclass(frozen=True, eq=False)
class Table:
    """R rows. Any number of threads may read.

    ids      (R,) int64, unique, in any order
    columns  {name: (R,), or (R, D) for vectors}; ``karec.catalog.schema`` explains names and dtypes

    Raises ValueError for a column of another length or a repeated id.
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
            raise ValueError(f"ids must be unique, {int(ordered[repeated[0]])} appears twice")
        object.__setattr__(self, "_order", order)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, selector: NDArray[Any]) -> Table:
        """Returns the rows of ``selector``: indices or a boolean mask."""
        return Table(self.ids[selector], {name: column[selector] for name, column in self.columns.items()})

    def lookup(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 the row of each id, −1 for unknown ids.

        Cost: O(N log R). It is O(N) for dense ids: the first call then makes an array over their span, at
        most 32 B for each row.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int64)
        if self._row_of is not None:
            lowest, highest = self._range
            is_inside = (wanted >= lowest) & (wanted <= highest)
            return self._row_of.take(np.where(is_inside, wanted - lowest, -1)).astype(np.int64)
        at = np.searchsorted(self.ids, wanted, sorter=self._order)
        rows = self._order[np.minimum(at, len(self.ids) - 1)]
        return np.where(self.ids[rows] == wanted, rows, -1)

    def row(self, id: int) -> int:
        """Returns the row of one id, −1 for an unknown one, in a tenth of the time of ``lookup``."""
        if not len(self.ids):
            return -1
        lowest, highest = self._range
        if not lowest <= id <= highest:
            return -1
        if self._row_of is not None:
            return int(self._row_of[id - lowest])
        return int(self.lookup(np.array([id]))[0])

    @computed_once
    def _range(self) -> tuple[int, int]:
        """The lowest and the highest id."""
        return int(self.ids[self._order[0]]), int(self.ids[self._order[-1]])

    @computed_once
    def _row_of(self) -> NDArray[Any] | None:
        """(span + 1,) int32: rows of the ids from the lowest to the highest, and −1 at the end.

        None if the span exceeds DENSE times the number of ids.
        """
        lowest, highest = self._range
        if highest - lowest >= DENSE * len(self.ids):
            return None
        row_of = np.full(highest - lowest + 2, -1, np.int32)
        row_of[self.ids - lowest] = np.arange(len(self.ids), dtype=np.int32)
        return row_of
