"""Diversity: greedy DPP, MMR and SSD, and rules on the order of a list. NumPy in, NumPy out; the work is done in C++.

The definitions, symbol by symbol, stand in ``native/include/karec/dpp.hpp`` and ``mmr_ssd.hpp``; the oracles
that they are tested against in ``kernels/reference.py``. Every function releases the GIL and uses one thread. The same
input gives the same output on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec._backend import library as _native
from karec.kernels.option_values import real, whole


@dataclass(frozen=True, eq=False)
class DppResult:
    """What a DPP selected, in the order of selection.

    indices  (n,) int64    into the input
    gains    (n,) float64  conditional gain d² = det L_{Y∪i} / det L_Y of each pick; 0 for picks of the fill
    log_det  Σ log gain over the first n_dpp (without a window: log det of the selected part of the kernel)
    n_dpp    how many the greedy chose before no item added anything; what follows is the fill
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    log_det: float
    n_dpp: int


def standardised(scores: ArrayLike) -> NDArray[np.float32]:
    """(N,) (r − mean) / deviation, computed in float64; all zero where every score is the same. O(N).

    So that one ``diversity`` means the same for inner products and for probabilities. ValueError: NaN or infinity.
    """
    return _native.standardise(scores)


class DppOptions(TypedDict, total=False):
    """What every ``dpp_select…`` over vectors of N items may be told, by keyword.

    diversity     in [0, 1], 0.5 unless told: α = (1 − diversity) / (2·diversity); 0 is the order of relevance, 1 leaves
                  it out
    alpha         α itself, ≥ 0, in place of ``diversity``
    ridge         in [0, 10], 1e-2 unless told; keeps near-duplicates selectable. Gains are compared in float32 with the
                  ridge in them: a larger one would drown what the vectors say
    weights       (N,) float32 ≥ 0, scales q: more or less traffic for some items
    types         (N,) integer codes; two items of one type are alike by ``type_weight``
    type_weight   in [0, 1], 0 unless told
    window        ≥ 1: a gain counts only the last window − 1 picks
    shown         (M, D) items seen already: gains are conditioned on them (Schur complement, q = 1, of no type)
    max_per_type  ≥ 1: at most so many items of one type in the result, fill included
    min_per_type  at least so many of each type, as far as there are so many and k has places: once the places left are
                  no more than what is owed to some types, only those are picked from
    fill          when no item adds anything: go on by q, largest first ("relevance", unless told), or stop (None)
    """

    diversity: float
    alpha: float | None
    ridge: float
    weights: ArrayLike | None
    types: ArrayLike | None
    type_weight: float
    window: int | None
    shown: ArrayLike | None
    max_per_type: int | None
    min_per_type: int
    fill: Literal["relevance"] | None


_UNLESS_TOLD = DppOptions(
    diversity=0.5,
    alpha=None,
    ridge=1e-2,
    weights=None,
    types=None,
    type_weight=0.0,
    window=None,
    shown=None,
    max_per_type=None,
    min_per_type=0,
    fill="relevance",
)


def native_options(function: str, options: DppOptions) -> dict[str, Any]:
    """All options as ``_native`` takes them; TypeError, as Python words it, for one that is none."""
    unknown = sorted(set(options) - set(_UNLESS_TOLD))
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}")
    told: dict[str, Any] = {**_UNLESS_TOLD, **options}
    told["alpha"] = _alpha(told.pop("diversity"), told["alpha"])
    for name in ("ridge", "type_weight"):
        told[name] = real(name, told[name])
    told["min_per_type"] = whole("min_per_type", told["min_per_type"])
    for name in ("window", "max_per_type"):
        told[name] = _whole_or_none(name, told[name])
    if told["fill"] not in ("relevance", None):
        raise ValueError(f"fill must be 'relevance' or None, got {told['fill']!r}")
    told["fill"] = told["fill"] is not None
    return told


def _whole_or_none(name: str, value: int | None) -> int | None:
    return None if value is None else whole(name, value)


def _alpha(diversity: float, alpha: float | None) -> float:
    if alpha is None:
        diversity = real("diversity", diversity)
        if not 0.0 <= diversity <= 1.0:
            raise ValueError(f"diversity must lie in [0, 1], got {diversity}")
        return _native.dpp_alpha(diversity)
    alpha = real("alpha", alpha)
    if not np.isfinite(alpha):
        raise ValueError(f"alpha must be finite and ≥ 0, got {alpha}; diversity=0 gives the order of relevance")
    return alpha


def dpp_select(embeddings: ArrayLike, relevance: ArrayLike, k: int, **options: Unpack[DppOptions]) -> DppResult:
    """Selects ``min(k, N)`` of N items that are relevant and differ: exact greedy MAP of a DPP (Chen et al. 2018).

    With f the embeddings at unit length, q_i = weights_i · exp(α·(r_i − max r)) and
    S = (1 − type_weight)·F Fᵀ + type_weight·[type_i = type_j], the kernel is L = diag(q)·(S + ridge·I)·diag(q).
    Each step takes the largest d²_i = det L_{Y∪i} / det L_Y, ties by lowest index. An item whose d²_i / q_i² is at most
    1e-6 of what it was at first, or whose q_i² underflows, adds nothing and is passed over.

    embeddings  (N, D) float32 or float16; a zero vector stays zero
    relevance   (N,) float32, larger is better; its scale matters, see ``alpha``
    options     diversity, alpha, ridge, weights, types, type_weight, window, shown, max_per_type, min_per_type, fill:
                see ``DppOptions``

    ValueError: shapes that do not fit, k ≤ 0, options out of range, NaN or infinity (naming the first position).
    TypeError: an option that is no number, or no whole one.

    O(N·k·D) at worst, no N × N matrix; M rows of ``shown`` count as M more picks, and O(M·D·min(M, D)) to condition on
    them. ``ItemIndex.dpp_select`` does the same on rows of an index.
    """
    return DppResult(*_native.dpp_select(embeddings, relevance, whole("k", k), **native_options("dpp_select", options)))


@dataclass(frozen=True, eq=False)
class DppBatchResult:
    """What a DPP selected for each of B users, n = min(k, the longest list); places that a user's items could not fill
    hold −1 and gain 0.

    indices  (B, n) int64    positions in the whole input, not in the user's part of it
    gains    (B, n) float64
    log_det  (B,)   float64
    n_dpp    (B,)   int64
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    log_det: NDArray[np.float64]
    n_dpp: NDArray[np.int64]


def dpp_select_batch(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    indptr: ArrayLike,
    k: int,
    *,
    shown_indptr: ArrayLike | None = None,
    **options: Unpack[DppOptions],
) -> DppBatchResult:
    """``dpp_select`` for B users in one call, one after the other on the calling thread, without the GIL.

    indptr        (B + 1,) int64: user b has items indptr[b] … indptr[b + 1] − 1 of the columns
    shown_indptr  (B + 1,) int64: and rows shown_indptr[b] … of ``shown``

    Everything else as in ``dpp_select``. ValueError also: an indptr that falls or does not run from 0 to N.
    """
    told = native_options("dpp_select_batch", options)
    return DppBatchResult(*_native.dpp_select_batch(embeddings, relevance, indptr, shown_indptr, whole("k", k), **told))


def dpp_select_kernel(
    kernel: ArrayLike | Callable[[int], ArrayLike],
    k: int,
    *,
    diagonal: ArrayLike | None = None,
    window: int | None = None,
) -> DppResult:
    """The same greedy on an explicit kernel, symmetric positive semi-definite, in float64.

    kernel    L (N, N); or a function that gives column i of it, (N,), and is asked once for each pick but the last
    diagonal  (N,) of L, where ``kernel`` is a function

    Chen's incremental Cholesky: O(N·k²), with a window O(N·k·window). There is no fill: the result is shorter than k
    where the kernel's rank gives no more. ValueError: L not square, NaN or infinity, a negative diagonal, k ≤ 0. What
    the function raises comes out.
    """
    k, window = whole("k", k), _whole_or_none("window", window)
    if not callable(kernel):
        if diagonal is not None:
            raise ValueError("diagonal is for a kernel that is given as a function; a matrix has its own")
        return DppResult(*_native.dpp_select_kernel(kernel, k, window))
    if diagonal is None:
        raise ValueError("a kernel that is given as a function needs diagonal=, its (N,) diagonal")
    return DppResult(*_native.dpp_select_columns(kernel, diagonal, k, window))


@dataclass(frozen=True, eq=False)
class MarginalResult:
    """What MMR or SSD selected, in order: ``indices (n,) int64``, and their ``scores (n,) float64`` when picked."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float64]


def mmr_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = 0.5,
    window: int | None = None,
    shown: ArrayLike | None = None,
) -> MarginalResult:
    """Maximal marginal relevance (Carbonell & Goldstein 1998): picks, ``min(k, N)`` times, the largest
    (1 − diversity)·r_i − diversity·max_j cos(f_i, f_j), where j is what was shown or picked; ties by lowest index.

    embeddings (N, D) float32 or float16 · relevance (N,) float32, standardised if ``diversity`` is to mean the same
    everywhere · window ≥ 1: only the last window − 1 picks count · shown (M, D): seen already, and always counted.

    ValueError as in ``dpp_select``. O(N·k·D) at worst.
    """
    k, diversity, window = whole("k", k), real("diversity", diversity), _whole_or_none("window", window)
    return MarginalResult(*_native.mmr_select(embeddings, relevance, k, diversity, window, shown))


def ssd_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = 0.5,
    window: int | None = None,
    shown: ArrayLike | None = None,
) -> MarginalResult:
    """Sliding spectrum decomposition (Huang et al. 2021, without the volume): picks the largest
    (1 − diversity)·r_i + diversity·‖p_i‖, where p_i is what modified Gram–Schmidt over what was shown or picked leaves
    of the unit vector f_i; ties by lowest index. Arguments, errors and cost as in ``mmr_select``.
    """
    k, diversity, window = whole("k", k), real("diversity", diversity), _whole_or_none("window", window)
    return MarginalResult(*_native.ssd_select(embeddings, relevance, k, diversity, window, shown))


@dataclass(frozen=True)
class ScatterRule:
    """Among any ``window`` neighbours at most ``max_count`` have the same value of ``column``.

    ``ScatterRule("song_id")``: no two works in a row of one song. 1 ≤ max_count < window.
    """

    column: str
    window: int = 2
    max_count: int = 1


@dataclass(frozen=True)
class ScatterViolation:
    """At ``position`` of the result ``rule`` does not hold: its item is number ``count`` of its value in the window."""

    position: int
    rule: ScatterRule
    count: int


@dataclass(frozen=True, eq=False)
class ScatterResult:
    """``indices`` int64: what ``order`` holds, rearranged. ``violations``: what could not be kept, by position."""

    indices: NDArray[np.int64]
    violations: tuple[ScatterViolation, ...]


def scatter(
    order: ArrayLike,
    columns: Mapping[str, ArrayLike],
    rules: Sequence[ScatterRule],
    k: int | None = None,
    shown: Mapping[str, ArrayLike] | None = None,
) -> ScatterResult:
    """The first ``k`` of ``order`` (None = all), rearranged so that the rules hold, changed as little as greedy needs.

    order    (n,) int64, distinct indices into the columns, best first; with k = None each comes out exactly once
    columns  {name: (N,) integers}, one for each rule's column
    shown    {name: (M,) integers}, what the session saw before the list, oldest first: windows reach back into it, so
             that a long one is a frequency for the session

    Each place takes the first remaining item that breaks no rule; where every remaining item breaks one, the item that
    breaks them least. A value that is left so often that skipping it once more would not fit it into the places that
    follow goes first: for one rule of window 2 and max_count 1, no order violates it less often. With more rules or
    wider windows each value is looked at alone, and more may be violated than need be.

    ValueError: an index that is out of range or stands twice, a rule's column that is missing or not integer,
    1 ≤ max_count < window not met, k ≤ 0. O(n·rules) for a list that seldom breaks a rule, O(n·k·rules) at worst.
    """
    positions = np.asarray(order)
    if positions.ndim != 1 or (positions.dtype.kind not in "iu" and positions.size):
        raise ValueError(f"order has shape {positions.shape} and dtype {positions.dtype}, expected (n,) int64")
    if k is not None and (k := whole("k", k)) <= 0:
        raise ValueError(f"k must be positive, got {k}")
    positions = positions.astype(np.int64, copy=False)
    values, repeats = np.unique(positions, return_counts=True)
    if (repeats > 1).any():
        raise ValueError(f"order must not repeat an index, {values[repeats > 1][0]} stands {repeats.max()} times")
    n = len(positions)
    native_rules = [
        (
            _values(positions, rule.column, columns),
            whole("window", rule.window),
            whole("max_count", rule.max_count),
            _shown(rule.column, shown),
        )
        for rule in rules
    ]
    places, violations = _native.scatter(n, native_rules, n if k is None else min(k, n))
    return ScatterResult(
        positions[places], tuple(ScatterViolation(position, rules[rule], count) for position, rule, count in violations)
    )


def _values(positions: NDArray[np.int64], name: str, columns: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
    if name not in columns:
        raise ValueError(f"a rule asks for column {name!r}; there are {sorted(columns)}")
    column = np.asarray(columns[name])
    if column.ndim != 1 or (column.dtype.kind not in "iub" and column.size):
        raise ValueError(f"column {name!r} has shape {column.shape} and dtype {column.dtype}, expected (N,) integers")
    outside = positions[(positions < 0) | (positions >= len(column))]
    if len(outside):
        raise ValueError(f"order holds {outside[0]}, column {name!r} has {len(column)} rows")
    return column[positions].astype(np.int64, copy=False)


def _shown(name: str, shown: Mapping[str, ArrayLike] | None) -> NDArray[np.int64]:
    if shown is None:
        return np.empty(0, np.int64)
    if name not in shown:
        raise ValueError(f"a rule asks for column {name!r}; shown has {sorted(shown)}")
    column = np.asarray(shown[name])
    if column.ndim != 1 or (column.dtype.kind not in "iub" and column.size):
        raise ValueError(f"shown {name!r} has shape {column.shape} and dtype {column.dtype}, expected (M,) integers")
    return column.astype(np.int64, copy=False)
