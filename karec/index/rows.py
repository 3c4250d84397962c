"""Rows of an item index that know the index and the generation in which they were found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows(np.ndarray[tuple[int, ...], np.dtype[np.int32]]):
    """An int32 array of rows, as ``lookup`` and the searches return it, with a tag.

    generation  the index's generation in which these rows were found; 0 = not known
    index       an object that an ``ItemIndex`` and its views share and no other index has; None = not known

    Calls that read rows refuse those of another index or of another generation than the one that they read:
    the row may hold another work there. Arrays without a tag are not checked, except that each row must
    exist.

    Keep the tag: slices, masks, index arrays, ``reshape``, ``copy``, ``astype``, ``np.take``, ``np.sort``.
    Drop it, without a warning: ``np.concatenate`` (``append``, ``stack``, ``pad``), ``np.unique``,
    ``np.where``, arithmetic, comparisons, ``np.asarray``, ``np.array``, ``np.copy``, ``tolist``, pickling,
    ``np.save``.
    """

    generation: int
    index: object | None

    @classmethod
    def of(cls, rows: NDArray[np.int32], generation: int, index: object | None) -> Rows:
        """A view of ``rows``, found in ``generation`` of ``index``."""
        tagged = rows.view(cls)
        tagged.generation = generation
        tagged.index = index
        return tagged

    def found_with(self, rows: NDArray[np.int32]) -> Rows:
        """A view of ``rows``, which were found where these were."""
        return Rows.of(rows, self.generation, self.index)

    def __array_finalize__(self, made_from: Any) -> None:
        tagged = isinstance(made_from, Rows)
        self.generation = made_from.generation if tagged else 0
        self.index = made_from.index if tagged else None

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """The result of a ufunc as a plain array: what is computed from rows need not be rows."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


def check_index(rows: object, index: object) -> None:
    """ValueError for ``Rows`` that are known to be of another index than ``index``. O(1)."""
    if isinstance(rows, Rows) and rows.index is not None and rows.index is not index:
        raise ValueError(
            "rows were found in another index than the one that reads them, where they may hold other works: "
            "give them to the index that found them, or look their ids up in this one (lookup)"
        )
