"""Numba versions of plain selections, for a karec whose C++ extension is not built."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels import dpp, mmr_ssd
from karec.kernels.arguments import column, finite


class NumbaSelections:
    """The functions of ``karec._native`` that Numba can replace. Every other name raises ``ImportError``."""

    def __init__(self, error: ImportError) -> None:
        self._error = error
        warnings.warn(
            f"dpp_select, mmr_select and ssd_select run in Numba, which is slower: {error}",
            RuntimeWarning,
            stacklevel=2,
        )

    def __getattr__(self, name: str) -> Any:
        raise ImportError(f"{name} has no Numba version: {self._error}")

    def dpp_alpha(self, diversity: float) -> float:
        return dpp.alpha_of(diversity)

    def standardise(self, scores: ArrayLike) -> NDArray[np.float32]:
        values = finite("scores", column("scores", scores, np.size(scores))).astype(np.float64)
        differences = values - values.mean() if len(values) else values
        deviation = differences.std() if len(values) else 0.0
        return np.asarray(differences / deviation if deviation > 0 else differences, np.float32)

    def dpp_select(
        self,
        vectors: ArrayLike,
        relevance: ArrayLike,
        k: int,
        *,
        alpha: float,
        ridge: float,
        weights: ArrayLike | None,
        window: int | None,
        fill: bool,
        **others: Any,
    ) -> dpp.Selection:
        self._reject("dpp_select", others)
        return dpp.dpp_select(
            vectors, relevance, k, alpha=alpha, ridge=ridge, weights=weights, window=window, fill=fill
        )

    def mmr_select(
        self,
        vectors: ArrayLike,
        relevance: ArrayLike,
        k: int,
        diversity: float,
        *,
        window: int | None,
        **others: Any,
    ) -> mmr_ssd.Selection:
        self._reject("mmr_select", others)
        return mmr_ssd.mmr_select(vectors, relevance, k, diversity=diversity, window=window)

    def ssd_select(
        self,
        vectors: ArrayLike,
        relevance: ArrayLike,
        k: int,
        diversity: float,
        *,
        window: int | None,
        **others: Any,
    ) -> mmr_ssd.Selection:
        self._reject("ssd_select", others)
        return mmr_ssd.ssd_select(vectors, relevance, k, diversity=diversity, window=window)

    def _reject(self, function: str, options: dict[str, Any]) -> None:
        """Raises ImportError for the first option that differs from its default: None, 0 or an empty list."""
        for name, value in options.items():
            if isinstance(value, np.ndarray) or value:
                raise ImportError(f"{function}: {name} has no Numba version: {self._error}")
