"""Freshness, tone, quota and standardised scores, as ``native/include/karec/ecosystem.hpp`` defines them, in
NumPy.

Freshness and standardised scores may differ from C++'s in the last bit: the sums and 2^x are NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels.option_values import positive
from karec.kernels.portable import index_layout
from karec.kernels.portable.arrays import finite, float32_input
from karec.kernels.portable.index_file import file_bytes

HOUR_MS = 3_600_000.0


def freshness(
    scores: ArrayLike, upload_ms: ArrayLike, now_ms: int, weight: float, half_life_hours: float
) -> NDArray[np.float32]:
    given = float32_input(scores, "scores", ("N",))
    uploaded = np.asarray(upload_ms)
    _same_length(given, uploaded)
    if uploaded.dtype.kind not in "iub":
        raise ValueError("moments are whole milliseconds: an integer column")
    age = np.maximum(now_ms - uploaded.astype(np.int64), 0) / HOUR_MS
    return np.asarray(given + weight * np.exp2(-age / half_life_hours), np.float32)


def tone(values: ArrayLike, at_least: float) -> NDArray[np.bool_]:
    column = np.asarray(values)
    if column.dtype.kind == "f":
        return np.asarray(column >= column.dtype.type(at_least))
    return np.asarray(column.astype(np.float64) >= at_least)


def quota(scores: ArrayLike, groups: ArrayLike, at_most: int) -> NDArray[np.bool_]:
    positive("at_most", at_most)
    # Copied, so that keys do not change while they are sorted, whoever writes to the caller's arrays.
    given, group = np.array(float32_input(scores, "scores", ("N",))), np.array(groups)
    _same_length(finite("scores", given), group)
    order = np.lexsort((-given, group))
    ordered = group[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    keep = np.empty(len(given), bool)
    keep[order] = place < at_most
    return keep


def standardise(scores: ArrayLike) -> NDArray[np.float32]:
    given = finite("scores", float32_input(scores, "scores", ("N",))).astype(np.float64)
    if not len(given):
        return given.astype(np.float32)
    centred = given - given.mean()
    deviation = centred.std()
    return np.asarray(centred / deviation if deviation > 0 else centred, np.float32)


def xxh64(content: bytes) -> int:
    return index_layout.xxh64(content)


def xxh64_of_file(path: bytes) -> int:
    return index_layout.xxh64(file_bytes(path, copy=False))


def _same_length(scores: NDArray[Any], column: NDArray[Any]) -> None:
    if column.shape != scores.shape:
        raise ValueError(f"column has shape {column.shape}, expected {scores.shape}")
