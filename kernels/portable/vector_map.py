"""Vectors centred and whitened, as ``native/src/diversity/vector_map.hpp`` defines it, in NumPy: the product
is BLAS's, so that the last bits may differ from C++'s."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from karec.kernels.portable.arrays import Float32, float64_input, matrix_input


class VectorMap:
    """``karec._native.VectorMap``."""

    def __init__(
        self, mean: ArrayLike | None, axes: ArrayLike, variances: ArrayLike, exponent: float
    ) -> None:
        v = float64_input(variances, "variances", ("D",))
        a = float64_input(axes, "axes", (len(v), len(v)))
        m = None if mean is None else float64_input(mean, "mean", (len(v),))
        if not 0.0 <= exponent <= 1.0:
            raise ValueError(f"whiten must lie in [0, 1], got {exponent:f}")
        if not (
            np.isfinite(a).all()
            and np.isfinite(v).all()
            and (v > 0).all()
            and (m is None or np.isfinite(m).all())
        ):
            raise ValueError(
                f"mean (D,), axes (D, D) and variances (D,) > 0 of vectors must be finite, D = {len(v)}"
            )
        self.mean = m
        self.weights = None
        if exponent > 0:
            factors = (v.max() / v) ** (0.5 * exponent)
            self.weights = ((a.T * factors) @ a).astype(np.float32)
        self.dim = len(v)

    def apply(self, vectors: ArrayLike) -> Float32:
        rows = np.asarray(matrix_input(vectors, "vectors", ("N", self.dim)), np.float32)
        mapped = rows if self.mean is None else (rows - self.mean).astype(np.float32)
        if self.weights is not None:
            mapped = mapped @ self.weights
        return np.where(rows.any(axis=1, keepdims=True), mapped, np.float32(0.0))
