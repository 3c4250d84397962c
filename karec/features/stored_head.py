"""Reads and checks values of an encoder's JSON head. Errors are ValueErrors that name the value."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any


def read_object(head: Any, name: str) -> dict[str, Any]:
    value = read_entry(head, name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_shorten(value)}, expected an object")
    return value


def read_entry(head: Mapping[str, Any], name: str) -> Any:
    if name not in head:
        raise ValueError(f"its head lacks {name!r}")
    return head[name]


def read_texts(head: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Returns ``head[name]``, a list of distinct strings."""
    value = read_entry(head, name)
    if (
        not isinstance(value, list)
        or not all(isinstance(text, str) for text in value)
        or len(set(value)) < len(value)
    ):
        raise ValueError(f"{name} is {_shorten(value)}, expected a list of distinct texts")
    return tuple(value)


def read_flag(head: Mapping[str, Any], name: str) -> bool:
    value = read_entry(head, name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {_shorten(value)}, expected true or false")
    return value


def read_integer(head: Mapping[str, Any], name: str, minimum: int, maximum: int) -> int:
    value = read_entry(head, name)
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise ValueError(f"{name} is {_shorten(value)}, expected a whole number in {minimum} … {maximum}")
    return value


def check_rates(value: Any, name: str, n: int) -> tuple[float, ...]:
    """Returns ``value``, a list of ``n`` numbers in (0, 1)."""
    if (
        not isinstance(value, list)
        or len(value) != n
        or not all(_is_real(rate) and 0 < rate < 1 for rate in value)
    ):
        raise ValueError(f"{name} is {_shorten(value)}, expected {n} numbers between 0 and 1")
    return tuple(map(float, value))


def read_scales(head: Mapping[str, Any], name: str) -> list[tuple[str, bool, float, float]]:
    """Returns the rows [name, log, mean, scale] of ``head[name]``: finite, with scales above 0."""
    value = read_entry(head, name)
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        has_types = (
            isinstance(row, list) and len(row) == 4 and isinstance(row[0], str) and isinstance(row[1], bool)
        )
        if not has_types or not _is_real(row[2]) or not _is_real(row[3]) or row[3] <= 0:
            raise ValueError(
                f"{name} holds {_shorten(row)}, expected [name, log, mean, scale] with scale above 0"
            )
    return [(row[0], row[1], float(row[2]), float(row[3])) for row in rows]


def _is_real(value: Any) -> bool:
    """Returns True for a number within the range of float64."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < 1e300 and isfinite(value)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
