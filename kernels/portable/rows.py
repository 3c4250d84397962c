"""Vectors as rows of float16, float32 or int8, and their inner products with a query, to the bit as in C++.

A row is padded with zeros to a multiple of 64 bytes, as in index files. A float product is 16 partial sums
over dimensions d ≡ j (mod 16) and then a fixed tree (``native/src/kernels/scoring_loops.inc``), without
fast-math. For int8 rows the query is rounded to integers, whose sums are exact
(``native/src/index/row_format.hpp``). O(N·D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from karec.kernels.portable.arrays import Float32, finite

MOST_DIMENSIONS = 65536
INT8_LIMIT = 127
FLOAT16_END = 65520.0  # rounds to infinity


@dataclass(frozen=True)
class ReadyQuery:
    """A query as ``RowFormat.dot`` takes it: float32 values, or for int8 rows integers and their scale."""

    values: NDArray[Any]
    scale: np.float32


@dataclass(frozen=True)
class RowFormat:
    dim: int
    dtype: str

    @property
    def width(self) -> int:
        """Elements of a padded row."""
        size = np.dtype(self.dtype).itemsize
        return (self.dim * size + 63) // 64 * 64 // size

    @property
    def stride(self) -> int:
        """Bytes of a padded row."""
        return self.width * np.dtype(self.dtype).itemsize

    @property
    def scaled(self) -> bool:
        """Whether a row has a scale of its own."""
        return self.dtype == "int8"

    def encode(self, embeddings: NDArray[Any]) -> tuple[NDArray[Any], Float32 | None]:
        """(N, width) rows, and int8's (N,) scales, of embeddings that ``check_vectors`` passed."""
        rows = np.zeros((len(embeddings), self.width), self.dtype)
        if not self.scaled:
            rows[:, : self.dim] = embeddings
            return rows, None
        values = embeddings.astype(np.float32)
        scales = np.abs(values).max(axis=1, initial=0) / np.float32(INT8_LIMIT)
        rows[:, : self.dim] = _rounded(values, scales[:, None], INT8_LIMIT)
        return rows, scales

    def decode(self, rows: NDArray[Any], scales: Float32 | None) -> Float32:
        """(N, D) vectors."""
        values = rows[:, : self.dim].astype(np.float32)
        return values if scales is None else values * scales[:, None]

    def ready(self, query: Float32) -> ReadyQuery:
        if not self.scaled:
            values = np.zeros(
                (self.dim + 15) // 16 * 16, np.float32
            )  # padding is read, as a file may hold anything there
            values[: self.dim] = query
            return ReadyQuery(values, np.float32(1))
        limit = min(32767, (2**31 - 1) // ((INT8_LIMIT + 1) * self.width))
        scale = np.abs(query).max() / np.float32(limit)
        return ReadyQuery(_rounded(query, scale, limit).astype(np.int64), scale)

    def readable(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows as ``dot`` takes them; any number of queries may meet them."""
        return rows if self.scaled else rows.astype(np.float32, copy=False)

    def dot(self, rows: NDArray[Any], query: ReadyQuery) -> Float32:
        """(N,) products; for int8 the row's scale is left out."""
        if not self.scaled:
            return np.asarray(dot_rows(rows, query.values))
        return np.asarray(_dot_integers(rows, query.values).astype(np.float32) * query.scale)


def check_vectors(embeddings: NDArray[Any], format_of: str) -> None:
    """ValueError: no or too many dimensions, NaN or infinity, a value that float16 cannot hold."""
    if not 1 <= embeddings.shape[1] <= MOST_DIMENSIONS:
        raise ValueError(
            f"embeddings has shape {embeddings.shape}, expected 1 to {MOST_DIMENSIONS} dimensions"
        )
    finite("embeddings", embeddings)
    if format_of == "float16" and embeddings.dtype == np.float32:
        bad = np.argwhere(np.abs(embeddings) >= FLOAT16_END)
        if len(bad):
            at = tuple(int(axis) for axis in bad[0])
            raise ValueError(
                f"embeddings hold a value at {at} that float16 cannot (|x| ≥ 65520); build with dtype float32"
            )


def _rounded(values: Float32, scale: Any, limit: int) -> Float32:
    """values / scale to the nearest integer, ties to even, within ±limit; 0 where the scale is 0."""
    with np.errstate(all="ignore"):
        steps = np.where(scale == 0, np.float32(0), values / scale)
    return np.asarray(np.rint(np.clip(steps, np.float32(-limit), np.float32(limit))))


@njit(cache=True, nogil=True)
def dot_rows(rows: Any, query: Any) -> Any:
    """(N,) the products of (N, width) with (width,), width a multiple of 16, in the order of summation of
    C++."""
    n, dim = len(rows), len(query)
    out = np.empty(n, np.float32)
    sums = np.empty(16, np.float32)
    for i in range(n):
        sums[:] = np.float32(0)
        for d in range(dim):
            sums[d % 16] += rows[i, d] * query[d]
        half = 8
        while half > 0:
            for j in range(half):
                sums[j] += sums[j + half]
            half //= 2
        out[i] = sums[0]
    return out


@njit(cache=True, nogil=True)
def _dot_integers(rows: Any, query: Any) -> Any:
    n, dim = len(rows), len(query)
    out = np.empty(n, np.int64)
    for i in range(n):
        total = 0
        for d in range(dim):
            total += rows[i, d] * query[d]
        out[i] = total
    return out
