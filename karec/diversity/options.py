"""Options of DPP, MMR and SSD: defaults, ranges, and the form in which the native library takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from numpy.typing import ArrayLike

from karec.diversity.native import library
from karec.kernels.arguments import DIVERSITY, MAX_RIDGE, RIDGE, between, positive_or_none, real, whole

MAX_WEIGHT_SUM = 1.0 + 1e-9  # of all facets; sums of decimal fractions are rounded


class DppOptions(TypedDict, total=False):
    """Keyword arguments of a DPP over vectors. ``karec.diversity.dpp_select`` explains them."""

    diversity: float
    alpha: float | None
    ridge: float
    weights: ArrayLike | None
    types: ArrayLike | None
    type_weight: float
    facets: ArrayLike | None
    facet_weights: Sequence[float]
    window: int | None
    shown: ArrayLike | None
    shown_facets: ArrayLike | None
    max_per_type: int | None
    min_per_type: int
    fill: Literal["relevance"] | None
    standardise: bool


def check_dpp_options(
    *,
    diversity: float = DIVERSITY,
    alpha: float | None = None,
    ridge: float = RIDGE,
    weights: ArrayLike | None = None,
    types: ArrayLike | None = None,
    type_weight: float = 0.0,
    facets: ArrayLike | None = None,
    facet_weights: Sequence[float] = (),
    window: int | None = None,
    shown: ArrayLike | None = None,
    shown_facets: ArrayLike | None = None,
    max_per_type: int | None = None,
    min_per_type: int = 0,
    fill: Literal["relevance"] | None = "relevance",
    standardise: bool = False,
) -> dict[str, Any]:
    """Returns all options but ``standardise`` as the native library takes them. Arrays are not checked.

    Raises:
        TypeError: a number that is not one, or not a whole one.
        ValueError: a number out of range.
    """
    if fill not in ("relevance", None):
        raise ValueError(f"fill must be 'relevance' or None, got {fill!r}")
    type_weight = between("type_weight", type_weight, 1.0)
    facet_weights = _weights_in_range(facet_weights)
    min_count, max_count = whole("min_per_type", min_per_type), positive_or_none("max_per_type", max_per_type)
    checked: dict[str, Any] = {
        "alpha": _alpha(diversity, alpha),
        "ridge": between("ridge", ridge, MAX_RIDGE),
        "type_weight": type_weight,
        "window": positive_or_none("window", window),
        "max_per_type": max_count,
        "min_per_type": min_count,
        "facet_weights": facet_weights,
        "weights": weights,
        "types": types,
        "facets": facets,
        "shown": shown,
        "shown_facets": shown_facets,
        "fill": fill is not None,
    }
    total = type_weight + sum(facet_weights)
    if total > MAX_WEIGHT_SUM:
        raise ValueError(f"type_weight and facet_weights sum to {total:g}, expected at most 1")
    if min_count < 0:
        raise ValueError(f"min_per_type must be ≥ 0, got {min_count}")
    if max_count is not None and min_count > max_count:
        raise ValueError(f"min_per_type must be at most max_per_type, got {min_count} and {max_count}")
    return checked


def check_facet_weights(facet_weights: Sequence[float]) -> list[float]:
    """Returns the weights of facets that are the only weights, as Python numbers.

    Raises:
        TypeError: not a list of numbers.
        ValueError: a weight outside [0, 1], or a sum above 1.
    """
    weights = _weights_in_range(facet_weights)
    if sum(weights) > MAX_WEIGHT_SUM:
        raise ValueError(f"facet_weights sum to {sum(weights):g}, expected at most 1")
    return weights


def needs_types(type_weight: float, max_per_type: int | None, min_per_type: int) -> bool:
    """Returns True if a selection with these options reads types."""
    return type_weight > 0 or max_per_type is not None or min_per_type > 0


def _alpha(diversity: float, alpha: float | None) -> float:
    if alpha is None:
        return library.dpp_alpha(between("diversity", diversity, 1.0))
    alpha = real("alpha", alpha)
    if not math.isfinite(alpha):
        raise ValueError(
            f"alpha must be finite and ≥ 0, got {alpha}; diversity=0 gives the order of relevance"
        )
    if alpha < 0:
        raise ValueError(f"alpha must be ≥ 0, got {alpha}")
    return alpha


def _weights_in_range(facet_weights: Sequence[float]) -> list[float]:
    try:
        weights = list(facet_weights)
    except TypeError:
        raise TypeError(f"facet_weights must be a list of numbers, got {facet_weights!r}") from None
    return [between(f"facet_weights[{f}]", weight, 1.0) for f, weight in enumerate(weights)]
