"""The portable item index: ``karec._native.ItemIndex`` in NumPy and Numba, with the same results and the same
file.

An index is a reference to a generation. A read takes the reference once and sees that generation to its end,
waits for nobody, and nobody waits for it; a write makes the next generation under a lock and swaps the
reference. A view keeps the reference that it took. So an index and its views are whole in the child of a
fork, whatever other threads did.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.errors import IndexFormatError
from karec.kernels.portable.arrays import (
    MOST_ROWS,
    Float32,
    Int64,
    finite,
    float32_input,
    int64_input,
    matrix_input,
)
from karec.kernels.portable.generation import Generation
from karec.kernels.portable.index_file import file_bytes, read_index
from karec.kernels.portable.index_inputs import (
    Columns,
    check_known_columns,
    check_map,
    check_unique,
    column_inputs,
)
from karec.kernels.portable.index_layout import STORED, name_fits
from karec.kernels.portable.index_reads import IndexReads
from karec.kernels.portable.model_versions import check_space
from karec.kernels.portable.rows import check_vectors
from karec.kernels.portable.search import Candidates


class IndexView(IndexReads):
    def __init__(self, generation: Generation) -> None:
        self._held: Generation | None = generation

    def _generation(self) -> Generation:
        if self._held is None:
            raise ValueError("this view of the index is closed: take a new one, index.pinned()")
        return self._held

    def close(self) -> None:
        self._held = None


class ItemIndex(IndexReads):
    def __init__(self, first: Generation) -> None:
        self._newest = first
        self._writing = threading.Lock()
        _every_index.add(self)

    def _generation(self) -> Generation:
        return self._newest

    @staticmethod
    def build(
        ids: ArrayLike,
        embeddings: ArrayLike,
        dtype: str,
        columns: Columns,
        model_version: int,
        rescore: bool,
        space_id: int,
    ) -> ItemIndex:
        if dtype not in STORED:
            raise ValueError(f"dtype must be 'float16', 'float32' or 'int8', got '{dtype}'")
        keys = int64_input(ids, "ids", ("N",))
        vectors = matrix_input(embeddings, "embeddings", (len(keys), "D"), f"ids has shape {keys.shape}")
        values = column_inputs(columns, keys)
        if rescore and dtype != "int8":
            raise ValueError("rescore is for int8 rows: others are what it would rescore from")
        check_vectors(vectors, dtype)
        if len(keys) > MOST_ROWS:
            raise ValueError(f"an index holds at most 2^31 − 1 rows, got {len(keys)}")
        for name in values:
            if not name_fits(name):
                raise ValueError(f"a column's name has 1 to 95 bytes of UTF-8, got '{name}'")
        check_unique(keys)
        return ItemIndex(Generation.first(keys, vectors, dtype, values, model_version, rescore, space_id))

    @staticmethod
    def open(path: bytes, verify: bool, copy: bool) -> ItemIndex:
        try:
            return ItemIndex(read_index(file_bytes(path, copy), verify))
        except IndexFormatError as error:
            raise IndexFormatError(f"{path.decode(errors='surrogateescape')}: {error}") from None

    def pinned(self) -> IndexView:
        return IndexView(self._newest)

    def upsert(
        self, ids: ArrayLike, embeddings: ArrayLike, columns: Columns, model_version: int, space_id: int
    ) -> None:
        keys = int64_input(ids, "ids", ("N",))
        vectors = matrix_input(embeddings, "embeddings", (len(keys), self.dim), f"ids has shape {keys.shape}")
        values = column_inputs(columns, keys)
        check_vectors(vectors, self.dtype)
        check_unique(keys)
        with self._writing:
            g = self._newest
            check_map(g)
            check_known_columns(g, keys, values)
            check_space(g.versions, model_version, space_id)
            if len(keys):
                self._newest = g.with_works(keys, vectors, values, model_version, space_id)
            else:
                self._newest = replace(g, map_verified=True)

    def calibrate(self, model_version: int, scale: float, offset: float) -> None:
        with self._writing:
            self._newest = self._newest.with_calibration(model_version, scale, offset)

    def remove(self, ids: ArrayLike) -> int:
        return self._write(ids, lambda g, rows, _: g.without(_first_of_each(rows)), verified=True)

    def block(self, ids: ArrayLike) -> int:
        return self._write(ids, lambda g, rows, _: g.with_blocked(rows, True))

    def unblock(self, ids: ArrayLike) -> int:
        return self._write(ids, lambda g, rows, _: g.with_blocked(rows, False))

    def adjust(self, ids: ArrayLike, scale: ArrayLike | None, offset: ArrayLike | None) -> int:
        keys = int64_input(ids, "ids", ("N",))

        def half(value: ArrayLike | None, name: str) -> Float32 | None:
            if value is None:
                return None
            return finite(name, float32_input(value, name, keys.shape, f"ids has shape {keys.shape}"))

        scales, offsets = half(scale, "scale"), half(offset, "offset")

        def change(g: Generation, rows: Int64, known: NDArray[np.bool_]) -> Generation:
            return g.with_adjustments(rows, *(None if x is None else x[known] for x in (scales, offsets)))

        return self._write(keys, change)

    def build_lists(self, n_lists: int, seed: int) -> None:
        with self._writing:
            g = self._newest
            check_map(g)
            self._newest = g.with_lists(n_lists, seed)

    def _write(
        self,
        ids: ArrayLike,
        change: Callable[[Generation, Int64, NDArray[np.bool_]], Generation],
        verified: bool = False,
    ) -> int:
        """Publishes what ``change`` makes of the known ids' rows; the number of unknown ids."""
        keys = int64_input(ids, "ids", ("N",))
        with self._writing:
            g = self._newest
            if verified:
                check_map(g)
            rows = Candidates(keys).rows_in(g)
            known = rows >= 0
            if known.any():
                self._newest = change(g, rows[known].astype(np.int64), known)
        return int(np.count_nonzero(~known))


_every_index: weakref.WeakSet[ItemIndex] = weakref.WeakSet()


def _unlock_in_child() -> None:
    """A write that another thread had begun is not there in the child, and nobody would release its lock."""
    for index in list(_every_index):
        index._writing = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)


def _first_of_each(rows: Int64) -> Int64:
    """Without repeats, in order."""
    return rows[np.sort(np.unique(rows, return_index=True)[1])]
