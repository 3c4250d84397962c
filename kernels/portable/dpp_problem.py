"""A DPP over embeddings, checked and put into the terms of the definition in
``native/include/karec/dpp.hpp``."""

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
    facets: Int64  # (F, N)
    shown: NDArray[Any]
    shown_facets: Int64 | None  # (F, M)
    alpha: float
    ridge: float
    type_weight: float
    window: int | None
    max_per_type: int | None
    min_per_type: int
    facet_weights: list[float]
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
        facets: ArrayLike | None,
        shown: ArrayLike | None,
        shown_facets: ArrayLike | None,
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
        checked = checked_options(**options)
        n_facets = len(checked["facet_weights"])
        each, of_shown = facet_inputs(facets, n_facets, shown_facets, n, len(seen), because)
        return cls(items, r, w, codes, each, seen, of_shown, fill=fill, **checked)

    def part(self, items: slice, seen: slice) -> DppProblem:
        return replace(
            self,
            embeddings=self.embeddings[items],
            relevance=self.relevance[items],
            weights=None if self.weights is None else self.weights[items],
            types=None if self.types is None else self.types[items],
            facets=self.facets[:, items],
            shown=self.shown[seen],
            shown_facets=None if self.shown_facets is None else self.shown_facets[:, seen],
        )

    def counted_facets(self) -> tuple[Int64, Float64]:
        """Codes (F, M + N) from 0 on, of what was shown and of the items, −1 where a row has no value;
        weights (F,).

        ``types`` come first where they count; what was shown has no types.
        """
        none = np.full(len(self.shown), -1, np.int64)
        codes, weights = counted_facets(self.facets, self.facet_weights, self.shown_facets, len(self.shown))
        if self.types is None or self.type_weight == 0:
            return codes, weights
        types = np.concatenate([none, _numbered(self.types)])
        return np.concatenate([types[None], codes]), np.concatenate([[self.type_weight], weights])

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


def facet_inputs(
    facets: ArrayLike | None,
    n_facets: int,
    shown_facets: ArrayLike | None,
    n: int,
    n_shown: int,
    because: str,
) -> tuple[Int64, Int64 | None]:
    """Codes (F, N), and (F, M) of what was shown, None where it has none; of checked shapes."""
    if facets is None and n_facets and n:
        raise ValueError(
            f"facets has 0 entries, expected {n_facets} × {n}, one for each of facet_weights and row"
        )
    each = np.zeros((n_facets, n), np.int64)
    if facets is not None:
        each = int64_input(facets, "facets", (n_facets, n), because)
    if shown_facets is None:
        return each, None
    there = f"there are {n_facets} facet_weights and {n_shown} rows of shown"
    return each, int64_input(shown_facets, "shown_facets", (n_facets, n_shown), there)


def counted_facets(
    facets: Int64, facet_weights: list[float], shown_facets: Int64 | None, n_shown: int
) -> tuple[Int64, Float64]:
    """Those with a weight above 0: codes (F, M + N) from 0 on, of what was shown and of the items, −1 where a
    row has no value; weights (F,)."""
    none = np.full(n_shown, -1, np.int64)
    codes = []
    for f, weight in enumerate(facet_weights):
        if weight > 0 and shown_facets is None:
            codes.append(np.concatenate([none, _numbered(facets[f])]))
        elif weight > 0 and shown_facets is not None:
            codes.append(_numbered(np.concatenate([shown_facets[f], facets[f]])))
    weights = np.array([weight for weight in facet_weights if weight > 0], np.float64)
    return np.array(codes, np.int64).reshape(len(weights), n_shown + facets.shape[1]), weights


def _numbered(codes: Int64) -> Int64:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


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
