"""Checks of options by name, the same on every backend: TypeError for a wrong type, ValueError for a wrong
value."""

from __future__ import annotations

import math
import sys
from operator import index
from typing import Any


def whole(name: str, value: Any) -> int:
    """``value`` as an int; TypeError for what is no whole number, or more than the machine counts to."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if not -sys.maxsize - 1 <= number <= sys.maxsize:
        raise TypeError(f"{name} must fit {sys.maxsize.bit_length() + 1} bits, got {number}")
    return number


def positive(name: str, value: Any) -> int:
    """``value`` as an int > 0."""
    number = whole(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {number}")
    return number


def positive_or_none(name: str, value: Any) -> int | None:
    """``value`` as an int > 0, or None."""
    return None if value is None else positive(name, value)


def real(name: str, value: Any) -> float:
    """``value`` as a float; TypeError for what is no number. A number beyond float64 is infinite."""
    try:
        return float(value) if hasattr(value, "__float__") else float(index(value))
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def between(name: str, value: Any, most: float) -> float:
    """``value`` as a float in [0, most]."""
    number = real(name, value)
    if not 0.0 <= number <= most:
        raise ValueError(f"{name} must lie in [0, {most:g}], got {number}")
    return number
