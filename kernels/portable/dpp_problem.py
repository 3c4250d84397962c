"""A DPP over embeddings, checked and put into the terms of the definition in ``native/include/karec/dpp.hpp``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels.dpp_options import checked_options, needs_types
from karec.kernels.portable.arrays import Float64, Int64, finite, float32_input, int64_input, matrix_input

LEAST_SHARE = 1e-6  # of its first ρ, below which an item adds nothing


@dataclass(frozen=True, eq=False)
class DppProblem:
    """The arrays of a DPP, of checked shapes and dtypes but unchecked values, and its options, checked."""

    embeddings: NDArray[Any]
    relevance: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    types: Int64 | None
    shown: NDArray[Any]
    alpha: float
    ridge: float
    type_weight: float
    window: int | None
    max_per_type: int | None
    min_per_type: int
    fill: bool

    @classmethod
    def of(
        cls,
        embeddings: ArrayLike,
        relevance: ArrayLike,
        because: str | None = None,
        *,
        weights: ArrayLike | None,
        types: ArrayLike | None,
        shown: ArrayLike | None,
        fill: bool,
        **options: Any,
    ) -> DppProblem:
        items = matrix_input(embeddings, "embeddings", ("N", "D"))
        n, dim = items.shape
        because = f"embeddings has shape {items.shape}" if because is None else because
        r = float32_input(relevance, "relevance", (n,), because)
        w = None if weights is None else float32_input(weights, "weights", (n,), because)
        codes = None if types is None else int64_input(types, "types", (n,), because)
        seen = items[:0] if shown is None else matrix_input(shown, "shown", ("M", dim), because)
        return cls(items, r, w, codes, seen, fill=fill, **checked_options(**options))

    def part(self, items: slice, seen: slice) -> DppProblem:
        return replace(
            self,
            embeddings=self.embeddings[items],
            relevance=self.relevance[items],
            weights=None if self.weights is None else self.weights[items],
            types=None if self.types is None else self.types[items],
            shown=self.shown[seen],
        )

    def check(self) -> None:
        typed = needs_types(self.type_weight, self.max_per_type, self.min_per_type)
        if self.types is None and len(self.embeddings) and typed:
            raise ValueError("type_weight, max_per_type and min_per_type need types")
        finite("relevance", self.relevance)
        if self.weights is not None:
            negative = np.flatnonzero(finite("weights", self.weights) < 0)
            if len(negative):
                at = negative[0]
                raise ValueError(f"weights holds {self.weights[at]} at position {at}, expected ≥ 0")
        finite("shown", self.shown)
        finite("embeddings", self.embeddings)


def dpp_alpha(diversity: float) -> float:
    return np.inf if diversity == 0 else (1 - diversity) / (2 * diversity)


def log_qualities(relevance: Float64, alpha: float, weights: Float64) -> Float64:
    """log q_i = log weights_i + α·(r_i − max r)."""
    below = relevance - relevance.max(initial=-np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(weights) + np.where(below == 0, 0.0, alpha * below))


def unit(embeddings: NDArray[Any]) -> Float64:
    """Rows at unit length; a zero row stays zero."""
    x = embeddings.astype(np.float64)
    norms = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return np.asarray(x / np.where(norms > 0, norms, 1))
