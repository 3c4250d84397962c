"""Selections in Numba, for a karec whose C++ extension is not built."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels import dpp, mmr_ssd
from karec.kernels.option_values import column, finite


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
        given = finite("scores", column("scores", scores, np.size(scores))).astype(np.float64)
        centred = given - given.mean() if len(given) else given
        deviation = centred.std() if len(given) else 0.0
        return np.asarray(centred / deviation if deviation > 0 else centred, np.float32)

    def dpp_select(
        self,
        embeddings: ArrayLike,
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
            embeddings, relevance, k, alpha=alpha, ridge=ridge, weights=weights, window=window, fill=fill
        )

    def mmr_select(self, *arguments: Any) -> mmr_ssd.Selection:
        return mmr_ssd.mmr_select(**self._plain("mmr_select", *arguments))

    def ssd_select(self, *arguments: Any) -> mmr_ssd.Selection:
        return mmr_ssd.ssd_select(**self._plain("ssd_select", *arguments))

    def _plain(
        self,
        function: str,
        embeddings: ArrayLike,
        relevance: ArrayLike,
        k: int,
        diversity: float,
        window: int | None,
        shown: ArrayLike | None,
        facets: ArrayLike | None,
        facet_weights: list[float],
        shown_facets: ArrayLike | None,
    ) -> dict[str, Any]:
        others = {"shown": shown, "facets": facets, "facet_weights": facet_weights}
        self._reject(function, {**others, "shown_facets": shown_facets})
        return {
            "embeddings": embeddings,
            "relevance": relevance,
            "k": k,
            "diversity": diversity,
            "window": window,
        }

    def _reject(self, function: str, options: dict[str, Any]) -> None:
        """Raises ImportError for the first option that differs from its default: None, 0 or an empty list."""
        for name, value in options.items():
            if isinstance(value, np.ndarray) or value:
                raise ImportError(f"{function}: {name} has no Numba version: {self._error}")
