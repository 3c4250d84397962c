"""Rows of an item index that know the generation in which they were found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows(np.ndarray[tuple[int, ...], np.dtype[np.int32]]):
    """An int32 array of rows, as ``lookup`` and the searches return it.

    generation  the index's generation in which these rows were found; 0 = not known

    Whatever reads rows refuses those of another generation than the one that it reads: a row may hold another work by
    then. Slices, masks and copies keep the generation; arithmetic and comparisons give plain arrays; ``concatenate``
    and pickling drop it. So does ``np.asarray(rows)``: such rows are taken at their word.
    """

    generation: int

    @classmethod
    def of(cls, rows: NDArray[np.int32], generation: int) -> Rows:
        """A view of ``rows``, found in ``generation``."""
        tagged = rows.view(cls)
        tagged.generation = generation
        return tagged

    def __array_finalize__(self, made_from: Any) -> None:
        self.generation = getattr(made_from, "generation", 0)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """The result of a ufunc: what is computed from rows is no rows."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain
