"""Rows of an item index with a tag that names the index and the generation in which they were found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows(np.ndarray[tuple[int, ...], np.dtype[np.int32]]):
    """An int32 array of rows, as ``lookup`` and searches return it, with a tag.

    Calls that read rows reject rows of another index or of another generation: the row may hold another item
    there. Arrays without a tag are not checked, except that each row must exist.

    These keep the tag: slices, masks, index arrays, ``reshape``, ``copy``, ``astype``, ``np.take``,
    ``np.sort``. These drop it without a warning: ``np.concatenate`` (``append``, ``stack``, ``pad``),
    ``np.unique``, ``np.where``, arithmetic, comparisons, ``np.asarray``, ``np.array``, ``np.copy``,
    ``tolist``, pickling, ``np.save``.

    generation  generation of the index in which the rows were found, 0 if unknown
    index       object shared by an ``ItemIndex`` and its views and by no other index, None if unknown
    """

    generation: int = 0
    index: object | None = None

    @classmethod
    def from_array(cls, rows: NDArray[np.int32], generation: int, index: object | None) -> Rows:
        """Returns a view of ``rows`` with the tag of ``generation`` of ``index``."""
        tagged = rows.view(cls)
        tagged.generation = generation
        tagged.index = index
        return tagged

    def tag(self, rows: NDArray[np.int32]) -> Rows:
        """Returns a view of ``rows`` with the tag of this array."""
        return Rows.from_array(rows, self.generation, self.index)

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Rows):
            self.generation = source.generation
            self.index = source.index

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Returns the result of a ufunc as a plain array: values computed from rows need not be rows."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


def check_index(rows: object, index: object) -> None:
    """Raises ValueError if ``rows`` have the tag of another index than ``index``. O(1)."""
    if isinstance(rows, Rows) and rows.index is not None and rows.index is not index:
        raise ValueError(
            "rows were found in another index than the one that reads them, where they may hold other items: "
            "give them to the index that found them, or look their ids up in this one (lookup)"
        )
