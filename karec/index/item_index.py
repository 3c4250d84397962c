"""Item index: vectors of items by id, and searches by inner product with a query.

The work is done in C++ (``native/include/karec/item_index.hpp``). One call uses one thread and releases the
GIL, so that requests run in parallel.

Any thread may write (``upsert``, ``remove``, ``adjust``, ``block``, ``unblock``) while others search. Every
write publishes a new generation, completely or not at all. Every call reads one generation from start to end
and waits for no write. Calls that belong together share one generation through a view: ``with
index.pinned() as view``. A row names the same vector until its item is upserted or removed. Rows are tagged
with index and generation, and a call that reads another one rejects them. Plain arrays of rows are not
checked for that (``karec.index.rows``).

``os.fork()`` waits for a write that another thread has begun, so that the child gets a complete index. The
child reads and writes it as before, and neither process sees the other's writes.

Arrays are checked before anything runs: a wrong rank, shape or dtype raises a ``ValueError`` that names both
shapes, NaN or infinity one that names the first position. Do not modify arrays while a call reads them.
C-contiguous float32, int64 and int32 input is not copied; other real or integer dtypes are converted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native as library
from karec.errors import nearest
from karec.index.arrays import ArrayCache
from karec.index.index_view import IndexView
from karec.index.reads import IndexReads
from karec.index.versions import check_space_id, check_version
from karec.kernels.arguments import positive, whole


@dataclass(frozen=True, eq=False)
class IndexSchema:
    """The dimension, the columns and the names of the code columns of one item index. They never change.

    ``index.schema`` is the same object in every call: two schemas are of one index if they are one object.
    """

    dim: int
    columns: Mapping[str, np.dtype[Any]]
    code_columns: tuple[str, ...] = ()

    def check_column(self, name: str, field: str = "", *, is_integer: bool = False) -> None:
        """Raises ValueError unless there is a column ``name``, of integers or booleans if ``is_integer``.

        ``field``: the key that names the column.
        """
        where = f"{field}: " if field else ""
        if name not in self.columns:
            raise ValueError(
                f"{where}the item index has no column {name!r}{nearest(name, self.columns)}; "
                f"it has {sorted(self.columns)}"
            )
        dtype = self.columns[name]
        if is_integer and dtype.kind not in "iub":
            raise ValueError(f"{where}column {name!r} has dtype {dtype}, expected integers")


class ItemIndex(IndexReads):
    """Vectors (N, D) of items under unique int64 ids, with columns. ``build`` and ``open`` make an index.

    Any number of threads may read and write.
    """

    _native: library.ItemIndex

    def __init__(self, native: library.ItemIndex) -> None:
        super().__init__(native, ArrayCache())
        columns = {name: np.dtype(dtype) for name, dtype in native.column_types}
        self._schema = IndexSchema(self.dim, MappingProxyType(columns), self.code_columns)

    @classmethod
    def build(
        cls,
        item_ids: ArrayLike,
        vectors: ArrayLike,
        dtype: Literal["float16", "float32", "int8"] = "float16",
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int = 0,
        rescore: bool = False,
        space_id: int = 0,
        codes: Mapping[str, ArrayLike] | None = None,
    ) -> ItemIndex:
        """Builds an index in memory from copies of the arrays. O(N·D).

        Args:
            item_ids: (N,) int64, unique, any values.
            vectors: (N, D) float32 or float16, finite, 1 ≤ D ≤ 65536.
            dtype: of stored vectors. float16 rounds to nearest, ties to even; int8 stores 127ths of the
                largest |x| of a row.
            columns: {name: (N,) of an integer, floating or boolean dtype}.
            model_version: version of the tower that made the vectors.
            rescore: with int8, stores float32 rows too and ranks the best 1.2·k items of a search by them.
            space_id: XXH64 of the file of the item tower that made the vectors, 0 if unknown.
            codes: {name: (N,) uint32}, at most 16, the codes that tables of a query look up (``search``).

        Raises:
            ValueError: a shape or dtype that does not fit, a repeated id, NaN or infinity, a value too large
                for float16, or an instruction set in KAREC_FORCE_ISA that the machine does not have.
        """
        _check_not_text(item_ids)
        named = _as_arrays(columns)
        coded = _as_arrays(codes)
        version, space = check_version(model_version), check_space_id(space_id)
        return cls(library.ItemIndex.build(item_ids, vectors, dtype, named, coded, version, rescore, space))

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True, copy: bool = False) -> ItemIndex:
        """Memory-maps an index file and verifies it (checksums, sizes, the id map, finite numbers). O(file).

        Processes that open the same file share its memory. Writes to an opened index stay in this process.
        Never write into an open file; replace it, as ``save`` does. A mapped file that is shortened ends the
        process (SIGBUS), and one that is overwritten gives wrong results or wrong memory accesses. If others
        may write to the file, open it with ``copy=True``.

        Args:
            verify: False trusts the contents, for a process whose sibling verified them. Header, table, sizes
                and bounds are still checked, and no call reads outside the file.
            copy: True reads the file into memory of this index, O(file). Later changes of the file then have
                no effect, and processes do not share the memory.

        Raises:
            IndexFormatError: truncated, altered, not an index file of this version, or with NaN or infinity.
            OSError: the file cannot be read or is not a regular file.
        """
        return cls(library.ItemIndex.open(os.fsencode(path), verify, copy))

    @property
    def schema(self) -> IndexSchema:
        """The dimension and columns of this index; always the same object."""
        return self._schema

    def pinned(self) -> IndexView:
        """Returns a view of the newest generation, whose calls all read this generation."""
        return IndexView(self._native.pinned(), self._arrays)

    def upsert(
        self,
        item_ids: ArrayLike,
        vectors: ArrayLike,
        columns: Mapping[str, ArrayLike] | None = None,
        model_version: int | None = None,
        space_id: int = 0,
        codes: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Adds items, and replaces vectors, codes and columns of items in the index. One new generation.

        An item in the index keeps its adjustment and its block, and gets another row. A column of another
        dtype is converted if no value changes.

        Args:
            item_ids: (N,) int64, unique.
            vectors: (N, D) float32 or float16, finite.
            columns: {name: (N,)}. Items in the index keep columns that are not given; new items need all.
            model_version: version of these vectors. None: that of the newest ones.
            space_id: as in ``build``, 0 if unknown.
            codes: {name: (N,) uint32} of every code column of the index.

        Raises:
            ValueError: as ``build``, an unknown column, a value that the dtype of the index cannot hold, a
                new item without a column, other code columns than those of the index, or a ``space_id`` other
                than that of the version's vectors: vectors of another item tower need another model version.
        """
        version = self.model_version if model_version is None else check_version(model_version)
        types = dict(self._native.column_types)
        for name in columns or ():
            if name not in types:
                raise ValueError(f"the index has no column '{name}'{nearest(str(name), types)}")
        named = [(name, _as_column(name, column, types[name])) for name, column in _as_arrays(columns)]
        coded = _as_arrays(codes)
        self._native.upsert(item_ids, vectors, named, coded, version, check_space_id(space_id))

    def calibrate(self, model_version: int, *, scale: float = 1.0, offset: float = 0.0) -> None:
        """Brings scores of one model version to the scale of the others. One new generation.

        An inner product becomes product·scale + offset before the item's own adjustment. The file keeps the
        line until no vector has this version.

        Raises ValueError if no vector has this version, scale ≤ 0, or a number is not finite.
        """
        self._native.calibrate(check_version(model_version), scale, offset)

    def build_lists(self, n_lists: int | None = None, seed: int = 0) -> None:
        """Assigns items to lists around centroids (IVF), for ``search(…, n_probe=…)``. One new generation.

        Every item gets another row: rows are in the order of the lists, so that a list is read as fast as a
        scan, and vectors are stored once. ``upsert`` assigns items to the nearest list. Centroids are made of
        the vectors of ``model_version``; vectors of another one are in no list, and every search scores them.
        Call it again after many writes, or after a model version has rolled in.

        Args:
            n_lists: 1 to 65,535 and at most the number of items. None: 4·√N.
            seed: of the sample that k-means is trained on. The same items and seed give the same lists.

        Raises:
            ValueError: no item of this version, or fewer than ``n_lists``.

        Cost: O(N·n_lists·D), 15 s of one core for 1e6 items of 64 dimensions, and the memory of a second copy
        of the index. Searches run meanwhile; writes wait only for the copying.
        """
        if whole("seed", seed) < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        self._native.build_lists(0 if n_lists is None else positive("n_lists", n_lists), whole("seed", seed))

    def remove(self, ids: ArrayLike) -> int:
        """Removes items. Their rows are used again. Returns the number of ``ids`` that the index had."""
        return np.size(ids) - self._native.remove(ids)

    def block(self, ids: ArrayLike) -> int:
        """Makes searches skip these items until ``unblock``. Returns the number of ``ids`` in the index."""
        return np.size(ids) - self._native.block(ids)

    def unblock(self, ids: ArrayLike) -> int:
        """Reverts ``block``. Returns the number of ``ids`` in the index."""
        return np.size(ids) - self._native.unblock(ids)

    def adjust(
        self,
        ids: ArrayLike,
        *,
        scale: ArrayLike | float | None = None,
        offset: ArrayLike | float | None = None,
    ) -> int:
        """Sets scale and offset of items: a score is inner product·scale + offset. One new generation.

        Args:
            ids: (N,) int64.
            scale, offset: (N,) float32 or one number for all, finite. None keeps the value. New items have 1
                and 0.

        Returns:
            The number of ``ids`` in the index. Unknown ids are skipped.
        """
        if scale is None and offset is None:
            raise ValueError("give a scale, an offset or both")
        n = np.shape(ids)
        values = [
            None if x is None else np.broadcast_to(x, n) if np.ndim(x) == 0 else x for x in (scale, offset)
        ]
        return np.size(ids) - self._native.adjust(ids, *values)


def _check_not_text(item_ids: ArrayLike) -> None:
    """Raises ValueError for ids that are texts."""
    if np.asarray(item_ids).dtype.kind in "USO":
        raise ValueError(
            "item_ids are texts, expected int64. Map them: "
            'ids = karec.index.IdMap.build(texts, "ids.karec"); '
            "ItemIndex.build(ids.numbers(texts), …); ids.names(found.ids) are the texts of a result"
        )


def _as_arrays(columns: Mapping[str, ArrayLike] | None) -> list[tuple[str, NDArray[Any]]]:
    return [(name, np.asarray(column)) for name, column in (columns or {}).items()]


def _as_column(name: str, column: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Returns the column in the index's dtype. Raises ValueError if a value changes by the conversion."""
    if column.dtype == dtype or column.dtype.kind not in "biuf":
        return column
    with np.errstate(all="ignore"):  # overflows and NaN are rejected below
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
