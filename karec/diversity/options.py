"""The options of a DPP over vectors, and the form in which the native library takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from karec.diversity.native import library
from karec.kernels.dpp_options import DIVERSITY, RIDGE, checked_options
from karec.kernels.option_values import between, real


class DppOptions(TypedDict, total=False):
    """The options of every ``dpp_select…`` over vectors of N items, by keyword.

    diversity     in [0, 1], by default 0.5: α = (1 − diversity) / (2·diversity); 0 is the order of relevance,
                  1 leaves it out
    alpha         α itself, ≥ 0, in place of ``diversity``
    ridge         in [0, 10], by default 1e-2; keeps near-duplicates selectable. Gains are compared in float32
                  and include the ridge: a larger one would hide the differences between vectors
    weights       (N,) float32 ≥ 0, scales q: more or less traffic for some items
    types         (N,) integer codes; two items of one type are alike by ``type_weight``
    type_weight   in [0, 1], by default 0
    facets        (F, N) integer codes, a row for each further facet: two items of one code in facet f are
                  alike by facet_weights[f], whatever the code
    facet_weights (F,) numbers ≥ 0; with ``type_weight`` they sum to at most 1. What they leave is that of the
    vectors
    window        ≥ 1: a gain counts only the last window − 1 picks
    shown         (M, D) items seen already: gains are conditioned on them (Schur complement, q = 1, of no
                  type)
    shown_facets  (F, M) their codes; None, the default: they have none, and are like others by their vectors
                  alone
    max_per_type  ≥ 1: at most so many items of one type in the result, fill included
    min_per_type  at least so many of each type, as far as there are so many and k has places: once some types
                  lack as many items as there are places left, only their items are picked
    fill          when no item adds anything: "relevance", the default, goes on by q, largest first; None
                  stops
    standardise   True: relevance is standardised first (mean 0, deviation 1; all 0 where every score is the
                  same), so that one ``diversity`` means the same whatever the scale of the scores; False is
                  the default
    """

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


_DEFAULTS = DppOptions(
    diversity=DIVERSITY,
    alpha=None,
    ridge=RIDGE,
    weights=None,
    types=None,
    type_weight=0.0,
    facets=None,
    facet_weights=(),
    window=None,
    shown=None,
    shown_facets=None,
    max_per_type=None,
    min_per_type=0,
    fill="relevance",
    standardise=False,
)


def native_options(function: str, options: DppOptions) -> dict[str, Any]:
    """All options but ``standardise`` as ``_native`` takes them.

    TypeError for an option of another name, as Python words it for ``function``, and for one that is no
    number; ValueError for one out of range.
    """
    unknown = sorted(set(options) - set(_DEFAULTS))
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}")
    given: dict[str, Any] = {**_DEFAULTS, **options}
    del given["standardise"]
    if given["fill"] not in ("relevance", None):
        raise ValueError(f"fill must be 'relevance' or None, got {given['fill']!r}")
    arrays = {name: given.pop(name) for name in ("weights", "types", "facets", "shown", "shown_facets")}
    fill = given.pop("fill") is not None
    alpha = _alpha(given.pop("diversity"), given.pop("alpha"))
    return {**checked_options(alpha=alpha, **given), **arrays, "fill": fill}


def _alpha(diversity: float, alpha: float | None) -> float:
    if alpha is None:
        return library.dpp_alpha(between("diversity", diversity, 1.0))
    alpha = real("alpha", alpha)
    if not np.isfinite(alpha):
        raise ValueError(
            f"alpha must be finite and ≥ 0, got {alpha}; diversity=0 gives the order of relevance"
        )
    return alpha
