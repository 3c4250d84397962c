"""What an option may be, told by its name: the same on every backend, before any of them sees it."""

from __future__ import annotations

import sys
from operator import index
from typing import Any

MOST_RIDGE = 10.0  # of a DPP over vectors; native/include/karec/dpp.hpp says why


def whole(name: str, value: Any) -> int:
    """``value`` as an int; TypeError for what is no whole number, or more than the machine counts to."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if not -sys.maxsize - 1 <= number <= sys.maxsize:
        raise TypeError(f"{name} must fit {sys.maxsize.bit_length() + 1} bits, got {number}")
    return number


def real(name: str, value: Any) -> float:
    """``value`` as a float; TypeError for what is no number. A number beyond float64 is infinite."""
    try:
        return float(value) if hasattr(value, "__float__") else float(index(value))
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
