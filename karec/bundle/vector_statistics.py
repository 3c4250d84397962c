"""Mean and principal axes of the vectors of an item index, stored in a bundle.

Steps centre and whiten vectors with them, in Python and in C++ hosts. docs/formats.md describes the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native
from karec.bundle.sealed_text import format_line, read_lines, seal_lines
from karec.errors import BundleError, DataError
from karec.index import ItemIndex

FILE, KIND = "vector_statistics.txt", "karec-statistics"
# of the mean variance, added to each axis: whitening divides by it and would amplify constant axes without it
MIN_VARIANCE_FRACTION = 1e-3
BLOCK_ROWS = 1 << 16
_HEAD = re.compile(
    r"vectors index\.karec model_version=(-?\d{1,19}) works=(\d{1,19}) dim=(\d{1,6}) xxh64=([0-9a-f]{16})"
)


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
        head = {
            "model_version": self.model_version,
            "works": self.n_items,
            "dim": len(self.mean),
            "xxh64": self.xxh64,
        }
        lines = [format_line("vectors", "index.karec", head), format_line("mean", _joined(self.mean))]
        lines += [format_line("variances", _joined(self.variances))]
        lines += [format_line("axis", _joined(axis.astype(np.float32))) for axis in self.axes]
        path.write_text(seal_lines(KIND, lines), encoding="ascii")

    @classmethod
    def open(cls, path: Path) -> VectorStatistics:
        """Raises BundleError if the file is truncated, was changed, or has wrong numbers."""
        try:
            lines = read_lines(path, KIND)
        except DataError as error:
            raise BundleError(str(error)) from error
        head = _HEAD.fullmatch(lines[0]) if lines else None
        if head is None:
            raise BundleError(f"{path}: its first line is not a head of vector statistics")
        version, n_items, dim, xxh64 = int(head[1]), int(head[2]), int(head[3]), head[4]
        words = [word for word, _, _ in (line.partition(" ") for line in lines[1:])]
        if words != ["mean", "variances", *["axis"] * dim]:
            raise BundleError(f"{path} has lines {words[:4]} …, expected mean, variances and {dim} of axis")
        try:
            numbers = [np.array(line.partition(" ")[2].split("/"), np.float64) for line in lines[1:]]
        except ValueError as error:
            raise BundleError(f"{path} holds a word that is not a number: {error}") from error
        if (
            any(len(row) != dim or not np.isfinite(row).all() for row in numbers)
            or not (numbers[1] > 0).all()
        ):
            raise BundleError(f"{path}: expected {dim} finite numbers in each line, and variances above 0")
        axes = np.array(numbers[2:], np.float32).astype(np.float64).reshape(dim, dim)
        return cls(version, n_items, numbers[0], axes, numbers[1], xxh64)

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


def _joined(numbers: NDArray[Any]) -> str:
    return "/".join(str(number) for number in numbers)
