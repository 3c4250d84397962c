"""Masks of the items that pages of a request may have."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.where import Codes, Where

if TYPE_CHECKING:
    from karec._native import Filter
    from karec.index import IndexView

Bool = NDArray[np.bool_]
MAX_MASKS, MAX_ROWS = 16, 1 << 25  # in a cache: masks, and if they are more, the sum of their rows


@dataclass(frozen=True, eq=False)
class AllowedRows:
    """The rows of an index view that pages may have. Any number of threads may call.

    rows       (n_rows,) bool, read-only
    n_allowed  the number of rows that pages may have
    """

    rows: Bool
    n_allowed: int = field(init=False)
    _masks_of_lists: dict[int, tuple[NDArray[Any], Bool]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_allowed", int(np.count_nonzero(self.rows)))

    def at(self, rows: NDArray[Any]) -> Bool:
        """Returns (N,) bool for ``rows`` (N,) of the view, False for row −1."""
        if not len(self.rows):  # an item type whose items have no vectors
            return np.zeros(len(rows), bool)
        return np.asarray(self.rows[rows] & (np.asarray(rows) >= 0))

    def at_list(self, rows: NDArray[Any]) -> Bool:
        """Returns ``at(rows)``, and keeps it for later calls with this array, which must not change."""
        found = self._masks_of_lists.get(id(rows))
        if found is None:
            found = self._masks_of_lists[id(rows)] = rows, self.at(rows)
        return found[1]


@dataclass(frozen=True, eq=False)
class _CachedMask:
    """The mask of one condition in one generation of the index."""

    filter: Filter
    generation: int
    allowed: AllowedRows


class MaskCache:
    """The masks of the conditions that were used last. Any number of threads may call.

    They are ``MAX_MASKS``, or more with ``MAX_ROWS`` rows in all. A mask has a byte for each row of the
    index, and for each item of the sources' lists that it was asked for.

    A condition has one mask, of the newest generation of the index that it was requested for. For a newer
    generation the rows that changed are evaluated again. A view of an older generation gets a mask of its
    own, which is not kept.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._masks: dict[Where | None, _CachedMask] = {}
        self._lock = Lock()  # of _masks
        self._making = Lock()  # of the thread that makes a mask

    def get(self, where: Where | None, view: IndexView) -> AllowedRows:
        """Returns the open items that satisfy ``where``. One thread at a time makes a mask.

        Raises ValueError if ``where`` does not fit the columns of the index.
        """
        mask = self._find(where)
        if mask is not None and mask.generation == view.generation:
            return mask.allowed
        with self._making:
            mask = self._find(where)
            if mask is not None and mask.generation == view.generation:
                return mask.allowed
            made = self._make(where, view, mask)
            if mask is None or mask.generation < made.generation:
                with self._lock:
                    self._masks[where] = made
                    while len(self._masks) > max(MAX_MASKS, MAX_ROWS // max(view.n_rows, 1)):
                        del self._masks[next(iter(self._masks))]
        return made.allowed

    def __contains__(self, where: Where) -> bool:
        """Returns True if there is a mask of ``where``, of any generation."""
        with self._lock:
            return where in self._masks

    def _find(self, where: Where | None) -> _CachedMask | None:
        """Returns the mask of the condition, which becomes the newest; None if the cache lacks it."""
        with self._lock:
            mask = self._masks.pop(where, None)
            if mask is not None:
                self._masks[where] = mask
            return mask

    def _make(self, where: Where | None, view: IndexView, cached: _CachedMask | None) -> _CachedMask:
        row_filter = view.compile_filter(where, self._codes) if cached is None else cached.filter
        if cached is None or cached.generation > view.generation:
            rows = view.mask(row_filter)
        else:
            rows = view.mask(row_filter, cached.allowed.rows, cached.generation)
        rows.flags.writeable = False  # requests share it
        return _CachedMask(row_filter, view.generation, AllowedRows(rows))
