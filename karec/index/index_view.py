"""One generation of an item index, held: what a request reads from its first step to its last."""

from __future__ import annotations

from karec import _native as library
from karec.index.arrays import NewestTable
from karec.index.reads import IndexReads


class IndexView(IndexReads):
    """The index as it was when ``index.pinned()`` was called, whatever is written meanwhile.

        with index.pinned() as view:
            found = view.search(query, ids=candidates, k=1000)
            picked = view.dpp_select(found.rows, found.scores, 50)
            creators = view.gather("creator_id", found.rows[picked.indices])

    A view waits for no write and no write waits for it. It costs a microsecond and no copy; while it is held,
    rows that are replaced are not used again, so that memory grows with the writes: hold one for a request.
    ``close`` or the end of the ``with`` block gives the generation up; so does the end of the last reference.
    Any threads may use a view at once; a call that runs when it is closed ends on it.

    After ``os.fork()`` a view that the forking thread took goes on in the child; one that another thread took
    is ``Unavailable`` there to every call that reads works: the child uses its rows again.

    ValueError: every use after ``close``.
    """

    _native: library.IndexView

    def __init__(self, native: library.IndexView, tables: NewestTable) -> None:
        super().__init__(native, tables)
        self._closed = False

    def __enter__(self) -> IndexView:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "IndexView(closed)" if self._closed else super().__repr__()

    def close(self) -> None:
        """Gives the generation up. Again: does nothing."""
        self._closed = True
        self._native.close()
