"""One generation of an item index, which a request reads from its first step to its last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from karec import _native as library
from karec.index.arrays import ArrayCache
from karec.index.reads import IndexReads


class IndexView(IndexReads):
    """The generation of an index that was the newest when ``index.pinned()`` was called.

        with index.pinned() as view:
            found = view.search(query, k=1000, ids=candidates)
            page = found.dpp(k=50)
            creators = view.gather("creator_id", found.rows[page.indices])

    A view waits for no write and no write waits for it. It costs a microsecond and no copy. While it is
    pinned, replaced rows are not used again, so that memory grows with the writes: keep one for one request.
    ``close``, the end of the ``with`` block and the end of the last reference release the generation. Any
    number of threads may use a view; a call that runs while the view is closed still ends on it.

    After ``os.fork()`` the child can use views of the forking thread. A view that another thread took raises
    ``Unavailable`` there in every call that reads items: the child uses its rows again.

    Every call after ``close`` raises ValueError.
    """

    _native: library.IndexView

    def __init__(self, native: library.IndexView, arrays: ArrayCache) -> None:
        super().__init__(native, arrays)
        self._is_closed = False

    def __enter__(self) -> IndexView:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "IndexView(closed)" if self._is_closed else super().__repr__()

    def mask(
        self, row_filter: library.Filter, before: NDArray[np.bool_] | None = None, generation: int = 0
    ) -> NDArray[np.bool_]:
        """Returns (n_rows,) bool: True for items that satisfy the filter and are not blocked.

        Args:
            row_filter: of ``compile_filter``.
            before: the filter's mask of an earlier generation. Only rows that changed since are evaluated.
            generation: of ``before``.

        Cost: O(n_rows) for each comparison; with ``before`` O(n_rows/64 + 64·changed rows), and a copy.

        Raises:
            ValueError: ``generation`` is newer than the view, or the filter does not fit its columns.
        """
        return self._native.mask(row_filter, before, generation)

    def close(self) -> None:
        """Releases the generation. A second call does nothing."""
        self._is_closed = True
        self._native.close()
