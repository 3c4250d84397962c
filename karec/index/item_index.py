"""The item index: the vectors of all works by id, and the inner product of a query with any of them.

The work is done in C++ (``native/include/karec/item_index.hpp``); this is its Python face. One call uses one
thread and releases the GIL, so that requests run side by side.

An index lives: any thread may write (``upsert``, ``remove``, ``adjust``, ``block``, ``unblock``) while others
search. Every write publishes a new generation, whole or not at all; every call sees one generation from start
to end and waits for no write. Calls that belong together share one by a view: ``with index.pinned() as
view``. A row names the same vector until its work is upserted or removed: rows know their index and
generation, and a call that reads another one refuses them. Plain arrays of rows are not checked for that
(``karec.index.rows``).

``os.fork()`` waits for a write that another thread has begun, so that the child gets a whole index. There it
is read and written like any other, and neither process sees the other's writes.

Arrays are checked before anything runs: a wrong rank, shape or dtype is a ``ValueError`` that names both
shapes, NaN or infinity one that names the first bad position. Arrays must not change while a call reads them.
C-contiguous float32 / int64 / int32 input is used where it lies; other real or integer dtypes are converted
first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native as library
from karec.index.arrays import NewestTable
from karec.index.index_view import IndexView
from karec.index.reads import IndexReads
from karec.index.versions import space_number, version_number
from karec.kernels.arguments import positive, whole


class ItemIndex(IndexReads):
    """N works' vectors of D dimensions under unique int64 ids, with columns. Make one with ``build`` or
    ``open``."""

    _native: library.ItemIndex

    def __init__(self, native: library.ItemIndex) -> None:
        super().__init__(native, NewestTable())

    @classmethod
    def build(
        cls,
        ids: ArrayLike,
        embeddings: ArrayLike,
        dtype: Literal["float16", "float32", "int8"] = "float16",
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int = 0,
        rescore: bool = False,
        space_id: int = 0,
    ) -> ItemIndex:
        """An index in memory. O(N·D); everything is copied.

        ids            (N,) int64, unique, any values
        embeddings     (N, D) float32 or float16, finite, 1 ≤ D ≤ 65536
        dtype          how vectors are stored; float16 rounds to nearest, ties to even; int8 in 127ths of the
                       row's largest |x|
        columns        {name: (N,) of any integer, floating or boolean dtype}
        model_version  of the tower that made the vectors
        rescore        for int8: keep float32 rows too, and rank the best 1.2·k of a search by those
        space_id       which item tower made the vectors: its file's XXH64; 0 = not known

        ValueError: a shape or dtype that does not fit, a repeated id, NaN or infinity, a value too large for
        float16, KAREC_FORCE_ISA naming an instruction set that the machine lacks.
        """
        named = _named(columns)
        version, space = version_number(model_version), space_number(space_id)
        return cls(library.ItemIndex.build(ids, embeddings, dtype, named, version, rescore, space))

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True, copy: bool = False) -> ItemIndex:
        """Memory-maps an index file and verifies all of it (checksums, sizes, the id map): O(file).

        Processes that open one file share its memory. What is written to an opened index stays in this
        process.

        verify  False takes the contents on trust, for a sibling of a process that did verify. Header, table,
                sizes and bounds are still checked, and no call reads outside the file whatever it holds.
        copy    True reads the file into memory of this index's own, O(file): what happens to the file
                afterwards does not show, and processes do not share the memory

        Never write into a file that is open somewhere; replace it by another one, as ``save`` does. A mapped
        file that is shortened ends the process (SIGBUS), and one that is overwritten gives wrong results or
        wrong memory accesses. Where others may write to the file, open it with ``copy=True``.

        IndexFormatError: truncated, altered, or not an index file of this version. OSError: the file cannot
        be read, or is not a regular file.
        """
        return cls(library.ItemIndex.open(os.fsencode(path), verify, copy))

    def pinned(self) -> IndexView:
        """The newest generation, held: the same reading calls, which all see it whatever is written
        meanwhile."""
        return IndexView(self._native.pinned(), self._tables)

    def upsert(
        self,
        ids: ArrayLike,
        embeddings: ArrayLike,
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int | None = None,
        space_id: int = 0,
    ) -> None:
        """Puts works in: new ones, and new vectors and columns of works that are there. One new generation.

        A work that is there keeps its adjustment and its block, and gets another row.

        ids            (N,) int64, unique
        embeddings     (N, D) float32 or float16, finite
        columns        {name: (N,)}; a work that is there keeps the columns that are not given, a new one
                       needs all
        model_version  of these vectors; None: that of the newest ones
        space_id       which item tower made them, as in ``build``; 0 = not said

        A column of another dtype is converted, if no value changes by it. ValueError: as ``build``; a column
        that the index has not; a value that the index's dtype does not hold, naming both dtypes and the first
        such value; a new work without a column, naming both; a ``space_id`` other than that of the version's
        vectors: vectors of another item tower need another model version.
        """
        version = self.model_version if model_version is None else version_number(model_version)
        types = dict(self._native.column_types)
        named = [(name, _as_column(name, column, types.get(name))) for name, column in _named(columns)]
        self._native.upsert(ids, embeddings, named, version, space_number(space_id))

    def calibrate(self, model_version: int, *, scale: float = 1.0, offset: float = 0.0) -> None:
        """Brings scores of one model version to the scale of the others: product·scale + offset, before a
        work's own adjustment. One new generation; kept in the file, until no vector is of that version.

        ValueError: no vector is of that version; scale ≤ 0; not finite.
        """
        self._native.calibrate(version_number(model_version), scale, offset)

    def build_lists(self, n_lists: int | None = None, seed: int = 0) -> None:
        """Puts all works into lists around centroids, for ``search_all(…, n_probe=…)``. One new generation.

        n_lists  1 to 65,535, at most one a work; None: 4·√works
        seed     of the sample that the centroids are trained on (k-means): same works and seed, same lists

        Every work gets another row: rows lie in the order of the lists, so that a list is read as fast as a
        scan, and vectors are kept once. ``upsert`` puts a work into the nearest list at once. Centroids are
        made of the vectors of ``model_version``; vectors of another one are in no list, and every search
        scores them. Call it again when much was written since, or when a model version has rolled in.

        O(N·n_lists·D), 15 s of one core for 1e6 works of 64 dimensions; memory of a second copy of the index
        meanwhile. Searches go on, and writes wait for the copying alone. ValueError: no work of that version,
        or fewer than ``n_lists``.
        """
        if whole("seed", seed) < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        self._native.build_lists(0 if n_lists is None else positive("n_lists", n_lists), whole("seed", seed))

    def remove(self, ids: ArrayLike) -> int:
        """Takes works out; their rows are used again once no search sees them. The number of unknown ids."""
        return self._native.remove(ids)

    def block(self, ids: ArrayLike) -> int:
        """Searches skip these works until ``unblock``. The number of unknown ids, which are passed over."""
        return self._native.block(ids)

    def unblock(self, ids: ArrayLike) -> int:
        """Takes ``block`` back. The number of unknown ids, which are passed over."""
        return self._native.unblock(ids)

    def adjust(
        self,
        ids: ArrayLike,
        *,
        scale: ArrayLike | float | None = None,
        offset: ArrayLike | float | None = None,
    ) -> int:
        """Sets works' scale and offset: a score is inner product · scale + offset. A new work has 1 and 0.

        ids            (N,) int64
        scale, offset  (N,) float32 or one number for all, finite; None leaves that one as it is

        Returns the number of unknown ids, which are passed over. One new generation.
        """
        if scale is None and offset is None:
            raise ValueError("give a scale, an offset or both")
        n = np.shape(ids)
        each = [
            None if x is None else np.broadcast_to(x, n) if np.ndim(x) == 0 else x for x in (scale, offset)
        ]
        return self._native.adjust(ids, *each)


def _named(columns: Mapping[str, ArrayLike] | None) -> list[tuple[str, NDArray[Any]]]:
    return [(name, np.asarray(column)) for name, column in (columns or {}).items()]


def _as_column(name: str, column: NDArray[Any], dtype: str | None) -> NDArray[Any]:
    """In the index's dtype, if no value changes by it; as it is where the index has no such column."""
    if dtype is None or column.dtype == dtype or column.dtype.kind not in "biuf":
        return column
    with np.errstate(all="ignore"):  # what overflows or is no number is refused below
        cast = column.astype(dtype)
        changed = (cast != column) | (cast.astype(column.dtype) != column)
    first = np.flatnonzero(changed & ~(np.isnan(cast) & np.isnan(column)))[:1]
    for at in first.tolist():
        value = column.ravel()[at].item()
        raise ValueError(
            f"column '{name}' has dtype {column.dtype}, the index holds {dtype}: {value} at position {at} "
            f"does not fit"
        )
    return cast
