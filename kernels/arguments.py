"""Checks arguments by name: TypeError for an option of a wrong type, ValueError for a wrong value."""

from __future__ import annotations

import math
import sys
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIVERSITY = 0.5  # default of DPP, MMR and SSD
RIDGE = 1e-2  # default of a DPP
MAX_RIDGE = 10.0  # native/include/karec/dpp.hpp gives the reason


def whole(name: str, value: Any) -> int:
    """Returns ``value`` as an int. Raises TypeError if it is not a whole number or exceeds the machine's."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if not -sys.maxsize - 1 <= number <= sys.maxsize:
        raise TypeError(f"{name} must fit {sys.maxsize.bit_length() + 1} bits, got {number}")
    return number


def positive(name: str, value: Any) -> int:
    """Returns ``value`` as an int > 0."""
    number = whole(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {number}")
    return number


def positive_or_none(name: str, value: Any) -> int | None:
    """Returns ``value`` as an int > 0, or None."""
    return None if value is None else positive(name, value)


def real(name: str, value: Any) -> float:
    """Returns ``value`` as a float, infinite beyond float64. Raises TypeError if it is not a number."""
    if type(value) is float:
        return value
    try:
        return float(value) if hasattr(value, "__float__") else float(index(value))
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def between(name: str, value: Any, maximum: float) -> float:
    """Returns ``value`` as a float in [0, maximum]."""
    number = real(name, value)
    if not 0.0 <= number <= maximum:
        raise ValueError(f"{name} must lie in [0, {maximum:g}], got {number}")
    return number


def matrix(name: str, value: ArrayLike) -> NDArray[Any]:
    """Returns ``value`` as (N, D) float32, or float16 if it is float16."""
    array = np.asarray(value)
    _check(name, array, array.ndim == 2, "(N, D)", "float32 or float16")
    return np.ascontiguousarray(array, np.float16 if array.dtype == np.float16 else np.float32)


def column(name: str, value: ArrayLike, n: int) -> NDArray[np.float32]:
    """Returns ``value`` as (n,) float32."""
    array = np.asarray(value)
    _check(name, array, array.shape == (n,), f"({n},)", "float32")
    with np.errstate(over="ignore"):  # `finite` rejects a value that becomes infinite
        return np.ascontiguousarray(array, np.float32)


def finite(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Returns ``array``. Raises ValueError with the first position of NaN or infinity."""
    is_finite = np.isfinite(array)
    if not is_finite.all():
        place = tuple(int(axis) for axis in np.argwhere(~is_finite)[0])
        value = "NaN" if np.isnan(array[place]) else "infinity"
        raise ValueError(f"{name} holds {value} at {place if len(place) > 1 else f'position {place[0]}'}")
    return array


def _check(name: str, array: NDArray[Any], has_shape: bool, shape: str, dtype: str) -> None:
    if not has_shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if array.size and array.dtype.kind not in "fiub":  # NumPy makes float64 of an empty list
        raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}, expected {dtype}")
