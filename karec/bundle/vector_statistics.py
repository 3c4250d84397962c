"""How the vectors of an item index lie: their mean, and their variance along its principal axes; a part of a
bundle.

Steps centre and whiten by them (``karec.steps.selectors``), in Python and in C++ hosts. docs/formats.md
describes
the file.
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
# of the mean variance, that each axis has at least: what never varies would be all that is left
LEAST_SHARE = 1e-3
_ROWS = 1 << 16  # that are read at once
_HEAD = re.compile(
    r"vectors index\.karec model_version=(-?\d{1,19}) works=(\d{1,19}) dim=(\d{1,6}) xxh64=([0-9a-f]{16})"
)


@dataclass(frozen=True, eq=False)
class VectorStatistics:
    """Of ``works`` vectors of ``model_version``: ``mean (D,)``, ``axes (D, D)`` orthonormal rows in float32,
    and ``variances (D,)`` > 0 along them; float64. ``xxh64``: of the index's file that they were made
    from."""

    model_version: int
    works: int
    mean: NDArray[Any]
    axes: NDArray[Any]
    variances: NDArray[Any]
    xxh64: str

    @classmethod
    def of(cls, index: ItemIndex, path: Path) -> VectorStatistics:
        """Of the vectors of ``index``, saved at ``path``, that are of its model version and not zero. O(N·D²
        + D³)."""
        n, total, products = 0, np.zeros(index.dim), np.zeros((index.dim, index.dim))
        rows = np.asarray(index.lookup(index.ids), np.int32)
        rows = rows[index.model_versions_of(rows) == index.model_version]
        for begin in range(0, len(rows), _ROWS):
            vectors = index.embeddings(rows[begin : begin + _ROWS]).astype(np.float64)
            vectors = vectors[vectors.any(axis=1)]
            n, total, products = n + len(vectors), total + vectors.sum(axis=0), products + vectors.T @ vectors
        mean = total / max(n, 1)
        variances, axes = np.linalg.eigh(products / max(n, 1) - np.outer(mean, mean))
        variances = np.maximum(variances, 0.0)
        variances += LEAST_SHARE * variances.mean() if variances.any() else 1.0
        exact = axes.T.astype(np.float32).astype(np.float64)
        return cls(
            index.model_version, n, mean, exact, variances, f"{_native.xxh64_of_file(bytes(path)):016x}"
        )

    def save(self, path: Path) -> None:
        head = {
            "model_version": self.model_version,
            "works": self.works,
            "dim": len(self.mean),
            "xxh64": self.xxh64,
        }
        lines = [format_line("vectors", "index.karec", head), format_line("mean", _joined(self.mean))]
        lines += [format_line("variances", _joined(self.variances))]
        lines += [format_line("axis", _joined(axis.astype(np.float32))) for axis in self.axes]
        path.write_text(seal_lines(KIND, lines), encoding="ascii")

    @classmethod
    def open(cls, path: Path) -> VectorStatistics:
        """Raises BundleError when the file is not whole, was altered, or does not hold what it says."""
        try:
            lines = read_lines(path, KIND)
        except DataError as error:
            raise BundleError(str(error)) from error
        head = _HEAD.fullmatch(lines[0]) if lines else None
        if head is None:
            raise BundleError(f"{path} does not say which vectors it is of")
        version, works, dim, xxh64 = int(head[1]), int(head[2]), int(head[3]), head[4]
        words = [word for word, _, _ in (each.partition(" ") for each in lines[1:])]
        if words != ["mean", "variances", *["axis"] * dim]:
            raise BundleError(f"{path} has lines {words[:4]} …, expected mean, variances and {dim} of axis")
        try:
            numbers = [np.array(each.partition(" ")[2].split("/"), np.float64) for each in lines[1:]]
        except ValueError as error:
            raise BundleError(f"{path} holds what is no number: {error}") from error
        if (
            any(len(each) != dim or not np.isfinite(each).all() for each in numbers)
            or not (numbers[1] > 0).all()
        ):
            raise BundleError(f"{path}: each line has {dim} finite numbers, and variances are above 0")
        axes = np.array(numbers[2:], np.float32).astype(np.float64).reshape(dim, dim)
        return cls(version, works, numbers[0], axes, numbers[1], xxh64)

    def check(self, path: Path, model_version: int, dim: int) -> None:
        """Raises BundleError unless they are of that version and width."""
        if self.model_version != model_version:
            raise BundleError(
                f"{path} is of model version {self.model_version}, its bundle of {model_version}"
            )
        if len(self.mean) != dim:
            raise BundleError(f"{path} is of {len(self.mean)} dimensions, its index has {dim}")

    def check_source(self, path: Path, index: Path) -> None:
        """Raises BundleError unless they were made from the file ``index``. O(its bytes)."""
        if f"{_native.xxh64_of_file(bytes(index)):016x}" != self.xxh64:
            raise BundleError(f"{path} was made from another index than {index}: publish again")


def _joined(numbers: NDArray[Any]) -> str:
    return "/".join(str(number) for number in numbers)
