"""Options of a DPP over vectors that are no arrays: defaults and ranges. ``karec.DppOptions`` says what they
mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from karec.kernels.option_values import between, positive_or_none, real, whole

DIVERSITY = 0.5
RIDGE = 1e-2
MOST_WEIGHT = 1.0 + 1e-9  # of all facets: sums of decimal fractions are rounded
MOST_RIDGE = 10.0  # native/include/karec/dpp.hpp says why


def checked_options(
    *,
    alpha: float,
    ridge: float,
    type_weight: float,
    window: int | None,
    max_per_type: int | None,
    min_per_type: int,
    facet_weights: Sequence[float] = (),
) -> dict[str, Any]:
    """The same options as Python numbers, in range. TypeError and ValueError name the first that is not."""
    least, most = whole("min_per_type", min_per_type), positive_or_none("max_per_type", max_per_type)
    checked: dict[str, Any] = {
        "alpha": real("alpha", alpha),
        "ridge": between("ridge", ridge, MOST_RIDGE),
        "type_weight": between("type_weight", type_weight, 1.0),
        "window": positive_or_none("window", window),
        "max_per_type": most,
        "min_per_type": least,
        "facet_weights": _in_range(facet_weights),
    }
    total = checked["type_weight"] + sum(checked["facet_weights"])
    if total > MOST_WEIGHT:
        raise ValueError(f"type_weight and facet_weights sum to {total:g}, expected at most 1")
    if not alpha >= 0:
        raise ValueError(f"alpha must be ≥ 0, got {alpha}")
    if least < 0:
        raise ValueError(f"min_per_type must be ≥ 0, got {least}")
    if most is not None and least > most:
        raise ValueError(f"min_per_type must be at most max_per_type, got {least} and {most}")
    return checked


def checked_facet_weights(facet_weights: Sequence[float]) -> list[float]:
    """As Python numbers, where they are the only weights: each in [0, 1], at most 1 in sum. Errors as
    above."""
    weights = _in_range(facet_weights)
    if sum(weights) > MOST_WEIGHT:
        raise ValueError(f"facet_weights sum to {sum(weights):g}, expected at most 1")
    return weights


def _in_range(facet_weights: Sequence[float]) -> list[float]:
    try:
        listed = list(facet_weights)
    except TypeError:
        raise TypeError(f"facet_weights must be a list of numbers, got {facet_weights!r}") from None
    return [between(f"facet_weights[{f}]", weight, 1.0) for f, weight in enumerate(listed)]


def needs_types(type_weight: float, max_per_type: int | None, min_per_type: int) -> bool:
    """Whether a selection with these options reads types."""
    return type_weight > 0 or max_per_type is not None or min_per_type > 0
