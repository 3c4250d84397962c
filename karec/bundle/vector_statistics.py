"""Mean and principal axes of the vectors of an item index, stored in a bundle.

Steps centre and whiten vectors with them, in Python and in C++ hosts. docs/formats.md describes the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct, to_builtins
from numpy.typing import NDArray

from karec import _native
from karec.errors import BundleError
from karec.files import parse_json, read_npz, to_struct
from karec.index import ItemIndex

FILE = "vector_statistics.npz"
FORMAT: Literal[1] = 1
# of the mean variance, added to each axis: whitening divides by it and would amplify constant axes without it
MIN_VARIANCE_FRACTION = 1e-3
BLOCK_ROWS = 1 << 16


class _Head(Struct):
    format: Literal[1]
    model_version: int
    n_items: Annotated[int, Meta(ge=0)]
    index_xxh64: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


@dataclass(frozen=True, eq=False)
class VectorStatistics:
    """Statistics of the vectors of one model version."""

    model_version: int
    n_items: int
    mean: NDArray[np.float64]  # (D,)
    axes: NDArray[np.float64]  # (D, D), orthonormal rows, rounded to float32
    variances: NDArray[np.float64]  # (D,), above 0, along the axes
    xxh64: str  # of the index file

    @classmethod
    def from_index(cls, index: ItemIndex, path: Path) -> VectorStatistics:
        """Reads the vectors of the index's model version that are not zero. ``path``: the index file.

        Cost: O(N·D² + D³) for N items of D dimensions.
        """
        n, total, products = 0, np.zeros(index.dim), np.zeros((index.dim, index.dim))
        rows = np.asarray(index.lookup(index.ids), np.int32)
        rows = rows[index.model_versions_of(rows) == index.model_version]
        for begin in range(0, len(rows), BLOCK_ROWS):
            vectors = index.embeddings(rows[begin : begin + BLOCK_ROWS]).astype(np.float64)
            vectors = vectors[vectors.any(axis=1)]
            n, total, products = n + len(vectors), total + vectors.sum(axis=0), products + vectors.T @ vectors
        mean = total / max(n, 1)
        variances, axes = np.linalg.eigh(products / max(n, 1) - np.outer(mean, mean))
        variances = np.maximum(variances, 0.0)
        variances += MIN_VARIANCE_FRACTION * variances.mean() if variances.any() else 1.0
        exact = axes.T.astype(np.float32).astype(np.float64)
        return cls(
            index.model_version, n, mean, exact, variances, f"{_native.xxh64_of_file(bytes(path)):016x}"
        )

    def save(self, path: Path) -> None:
        head = _Head(FORMAT, self.model_version, self.n_items, self.xxh64)
        text = json.dumps(to_builtins(head)).encode()
        axes = np.ascontiguousarray(self.axes, np.float32)  # C++ reads rows first
        np.savez(
            path, head=np.frombuffer(text, np.uint8), mean=self.mean, variances=self.variances, axes=axes
        )

    @classmethod
    def open(cls, path: Path) -> VectorStatistics:
        """Raises BundleError if the file is damaged, of another format, or has wrong numbers."""
        try:
            arrays = read_npz(path)
            missing = {"head", "mean", "variances", "axes"} - arrays.keys()
            if missing:
                raise ValueError(f"the table {min(missing)!r} is missing")
            head = to_struct(parse_json(arrays["head"].tobytes()), _Head)
            mean, variances, axes = (
                _check_numbers(arrays, name, dtype)
                for name, dtype in (("mean", np.float64), ("variances", np.float64), ("axes", np.float32))
            )
            dim = mean.size
            if mean.shape != (dim,) or variances.shape != (dim,) or axes.shape != (dim, dim):
                raise ValueError(f"shapes are {mean.shape}, {variances.shape} and {axes.shape}")
            if not (variances > 0).all():
                raise ValueError("a variance is not above 0")
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} is not a file of vector statistics: {error}") from error
        return cls(
            head.model_version, head.n_items, mean, axes.astype(np.float64), variances, head.index_xxh64
        )

    def check(self, path: Path, model_version: int, dim: int) -> None:
        """Raises BundleError if model version or number of dimensions differ."""
        if self.model_version != model_version:
            raise BundleError(
                f"{path} is of model version {self.model_version}, its bundle of {model_version}"
            )
        if len(self.mean) != dim:
            raise BundleError(f"{path} is of {len(self.mean)} dimensions, its index has {dim}")

    def check_source(self, path: Path, index: Path) -> None:
        """Raises BundleError if they were made from another file than ``index``. Cost: O(its bytes)."""
        if f"{_native.xxh64_of_file(bytes(index)):016x}" != self.xxh64:
            raise BundleError(f"{path} was made from another index than {index}. Publish again")


def _check_numbers(arrays: Any, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    array: NDArray[Any] = arrays[name]
    if array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"{name} is not of finite numbers in {np.dtype(dtype).name}")
    return array
