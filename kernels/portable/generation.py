"""One generation of a portable index: everything that a reader sees, never changed; a write makes the next
one.

A work has one row for as long as its vector stands; an upsert writes another row and frees the old one. What
belongs to the work and not to its vector (adjustment, block) moves along. Every write copies the arrays that
it changes, whole: O(N·D) an upsert, O(N) the others. Works get the rows that
``native/src/index/generation_store.cpp`` gives them while no reader pins an older generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.kernels.portable.arrays import MOST_ROWS, Float32, Int64
from karec.kernels.portable.id_map import IdMap
from karec.kernels.portable.model_versions import (
    ModelVersion,
    Versions,
    calibrated,
    code_for,
    counted,
    in_space,
)
from karec.kernels.portable.row_lists import RowLists, UInt16, number_of_lists, trained_centroids
from karec.kernels.portable.rows import RowFormat

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Generation:
    number: int
    model_version: int  # of the newest vectors
    versions: Versions
    format: RowFormat
    id_map: IdMap
    n_works: int
    n_first_rows: int  # when rows got their present numbers: no later generation has fewer
    ids: Int64
    rows: NDArray[Any]
    scales: Float32 | None = None  # of int8 rows
    exact: NDArray[Any] | None = None  # float32 rows to rescore from
    codes: NDArray[np.uint8] | None = None  # of model versions; None while code 0 is the only one
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    adjustments: Float32 | None = None  # (n_rows, 2) scale, offset; None while every row has {1, 0}
    blocked: Bools | None = None
    removed: Bools | None = None
    free: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))  # rows to be used again, oldest first
    lists: RowLists | None = None
    list_of: UInt16 | None = None  # with lists, each row's; their number is no list
    map_verified: bool = True  # False: of a file taken on trust, good for reading alone

    @classmethod
    def first(
        cls,
        ids: Int64,
        embeddings: NDArray[Any],
        dtype: str,
        columns: Mapping[str, NDArray[Any]],
        model_version: int,
        rescore: bool,
        space_id: int,
    ) -> Generation:
        """Copies of everything; checked."""
        row_format = RowFormat(embeddings.shape[1], dtype)
        rows, scales = row_format.encode(embeddings)
        return cls(
            number=1,
            model_version=model_version,
            versions=(ModelVersion(model_version, len(ids), space_id),),
            format=row_format,
            id_map=IdMap.of(ids, np.arange(len(ids))),
            n_works=len(ids),
            n_first_rows=len(ids),
            ids=ids.copy(),
            rows=rows,
            scales=scales,
            exact=RowFormat(row_format.dim, "float32").encode(embeddings)[0] if rescore else None,
            columns={name: column.copy() for name, column in columns.items()},
        )

    @property
    def n_rows(self) -> int:
        return len(self.ids)

    @property
    def exact_format(self) -> RowFormat:
        return RowFormat(self.format.dim, "float32")

    @property
    def standing(self) -> list[int]:
        """Model versions of which there are vectors."""
        return [version.number for version in self.versions if version.works]

    def present(self) -> Bools | None:
        """(n_rows,) whether a row holds a work; None: every row does."""
        return None if self.n_works == self.n_rows or self.removed is None else ~self.removed

    def holds_works(self, rows: NDArray[Any]) -> Bools:
        """(N,) whether each of ``rows`` is there and holds a work."""
        there = (rows >= 0) & (rows < self.n_rows)
        if self.removed is not None:
            there[there] = ~self.removed[rows[there]]
        return np.asarray(there)

    def vectors(self, rows: NDArray[Any], shown: Bools) -> Float32:
        """(N, D) the vectors of ``rows``, from the float32 rows where there are some; zeros where not
        ``shown``."""
        out = np.zeros((len(rows), self.format.dim), np.float32)
        at = rows[shown]
        if self.exact is not None:
            out[shown] = self.exact_format.decode(self.exact[at], None)
        else:
            out[shown] = self.format.decode(self.rows[at], None if self.scales is None else self.scales[at])
        return out

    def codes_of(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.zeros(len(rows), np.uint8) if self.codes is None else self.codes[rows]

    def numbers_of(self, rows: NDArray[Any]) -> Int64:
        """The model version of each of ``rows``."""
        numbers: Int64 = np.array([version.number for version in self.versions], np.int64)
        return np.asarray(numbers[self.codes_of(rows)])

    def arrays(self) -> list[NDArray[Any]]:
        """Everything that grows with the works."""
        each = (
            self.scales,
            self.exact,
            self.codes,
            self.adjustments,
            self.blocked,
            self.removed,
            self.list_of,
        )
        given = [array for array in each if array is not None]
        return [self.ids, self.rows, self.id_map.buckets, *self.columns.values(), *given]

    def with_blocked(self, rows: Int64, blocked: bool) -> Generation:
        if self.blocked is None and not blocked:
            return self._next()
        return self._next(blocked=_set(self.blocked, self.n_rows, rows, blocked))

    def with_adjustments(self, rows: Int64, scale: Float32 | None, offset: Float32 | None) -> Generation:
        """scale[i], offset[i] for rows[i]; of a row that stands twice the last."""
        adjustments = _identities(self.n_rows) if self.adjustments is None else self.adjustments.copy()
        if scale is not None:
            adjustments[rows, 0] = scale
        if offset is not None:
            adjustments[rows, 1] = offset
        return self._next(adjustments=adjustments)

    def without(self, rows: Int64) -> Generation:
        """``rows``, unique, hold no work any more."""
        removed = _set(self.removed, self.n_rows, rows, True)
        kept = np.flatnonzero(~removed)
        return self._next(
            versions=counted(self.versions, self.codes_of(rows), -1),
            n_works=self.n_works - len(rows),
            id_map=IdMap.of(self.ids[kept], kept),
            blocked=None if self.blocked is None else _set(self.blocked, self.n_rows, rows, False),
            removed=removed,
            free=np.append(self.free, rows),
            map_verified=True,
        )

    def with_works(
        self,
        ids: Int64,
        embeddings: NDArray[Any],
        columns: Mapping[str, NDArray[Any]],
        model_version: int,
        space_id: int,
    ) -> Generation:
        """Unique ``ids`` with new vectors and columns, checked; works that are there keep columns not
        given."""
        n = len(ids)
        old = self.id_map.find(ids)
        left = old[old >= 0].astype(np.int64)
        reused = self.free[:n]
        new = np.append(reused, np.arange(self.n_rows, self.n_rows + n - len(reused)))
        n_rows = self.n_rows + n - len(reused)
        if n_rows > MOST_ROWS:
            raise ValueError("an index holds at most 2^31 − 1 rows")
        code, versions = code_for(self.versions, model_version)
        versions = in_space(versions, code, space_id)
        codes = self.codes
        if codes is None and len(versions) > 1:
            codes = np.zeros(self.n_rows, np.uint8)
        versions = counted(versions, self.codes_of(left), -1)
        versions = counted(versions, np.full(n, code), 1)

        rows, scales = self.format.encode(embeddings)
        exact = self.exact
        if exact is not None:
            exact = _written(exact, n_rows, new, self.exact_format.encode(embeddings)[0])
        all_ids = _written(self.ids, n_rows, new, ids)
        removed, blocked, adjustments = self.removed, self.blocked, self.adjustments
        if removed is not None or len(left):
            removed = _set(_set(removed, n_rows, new, False), n_rows, left, True)
        if blocked is not None:
            moved = np.where(old >= 0, blocked[old], False)
            blocked = _set(_set(blocked, n_rows, new, moved), n_rows, left, False)
        if adjustments is not None:
            kept = np.where((old >= 0)[:, None], adjustments[old], np.array([1, 0], np.float32))
            adjustments = _written(adjustments, n_rows, new, kept)
        present = np.arange(n_rows) if removed is None else np.flatnonzero(~removed)
        made = self._next(
            model_version=model_version,
            versions=versions,
            n_works=len(present),
            id_map=IdMap.of(all_ids[present], present),
            ids=all_ids,
            rows=_written(self.rows, n_rows, new, rows),
            scales=None if self.scales is None else _written(self.scales, n_rows, new, scales),
            exact=exact,
            codes=None if codes is None else _written(codes, n_rows, new, code),
            columns={
                name: _written(column, n_rows, new, columns[name] if name in columns else column[old])
                for name, column in self.columns.items()
            },
            adjustments=adjustments,
            blocked=blocked,
            removed=removed,
            free=np.append(self.free[n:], left),
            map_verified=True,
        )
        if self.lists is None or self.list_of is None:
            return made
        # Vectors of another model version lie in another space than the centroids.
        listed = model_version == self.lists.model_version
        of = self.lists.nearest(made.listed_vectors(new)) if listed else np.uint16(self.lists.n)
        return replace(made, list_of=_written(self.list_of, n_rows, new, of))

    def with_calibration(self, number: int, scale: float, offset: float) -> Generation:
        return self._next(versions=calibrated(self.versions, number, scale, offset))

    def with_lists(self, n_lists: int, seed: int) -> Generation:
        """Works in lists around centroids of the vectors of ``model_version``, in the order of the lists."""
        present = np.arange(self.n_rows) if self.removed is None else np.flatnonzero(~self.removed)
        own = present[self.numbers_of(present) == self.model_version]
        n = number_of_lists(n_lists, len(own), self.model_version)
        vectors = self.listed_vectors(own)
        lists = RowLists(self.model_version, trained_centroids(vectors, n, seed))
        list_of = np.full(self.n_rows, n, np.uint16)
        list_of[own] = lists.nearest(vectors)
        return replace(self._next(), lists=lists, list_of=list_of, map_verified=True).compacted()

    def listed_vectors(self, rows: NDArray[Any]) -> Float32:
        """(N, width) the vectors of ``rows`` as centroids are made of them."""
        vectors = np.zeros((len(rows), self.exact_format.width), np.float32)
        vectors[:, : self.format.dim] = self.vectors(rows, np.ones(len(rows), np.bool_))
        return vectors

    def compacted(self) -> Generation:
        """The same works in as few rows, in the same order; with lists, in the order of their lists."""
        kept_rows = np.flatnonzero(np.ones(self.n_rows, np.bool_) if self.removed is None else ~self.removed)
        if self.list_of is not None:
            kept_rows = kept_rows[np.argsort(self.list_of[kept_rows], kind="stable")]

        def kept(array: NDArray[Any] | None) -> Any:
            return None if array is None else array[kept_rows]

        blocked = kept(self.blocked)
        ids = self.ids[kept_rows]
        return replace(
            self,
            id_map=IdMap.of(ids, np.arange(len(ids))),
            n_first_rows=len(ids),
            ids=ids,
            rows=self.rows[kept_rows],
            scales=kept(self.scales),
            exact=kept(self.exact),
            codes=kept(self.codes),
            columns={name: column[kept_rows] for name, column in self.columns.items()},
            list_of=kept(self.list_of),
            adjustments=kept(self.adjustments),
            blocked=blocked if blocked is not None and blocked.any() else None,
            removed=None,
            free=self.free[:0],
        )

    def _next(self, **changes: Any) -> Generation:
        return replace(self, number=self.number + 1, **changes)


def _identities(n: int) -> Float32:
    return np.tile(np.array([1, 0], np.float32), (n, 1))


def _written(array: NDArray[Any], n: int, at: Int64, values: Any) -> NDArray[Any]:
    """A copy of n rows, ``values`` in rows ``at``."""
    out = np.zeros((n, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    out[at] = values
    return out


def _set(members: Bools | None, n: int, rows: Int64, values: Any) -> Bools:
    """A copy of the set over n rows, in which ``rows`` are or are not."""
    return _written(np.zeros(0, np.bool_) if members is None else members, n, rows, values)
