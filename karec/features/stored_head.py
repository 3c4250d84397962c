"""Values of an encoder's JSON head, checked as they are read. Every refusal is a ValueError that names the
value."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any


def part(head: Any, name: str) -> dict[str, Any]:
    """The object ``head[name]``."""
    value = entry(head, name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_shown(value)}, expected an object")
    return value


def entry(head: Mapping[str, Any], name: str) -> Any:
    if name not in head:
        raise ValueError(f"its head lacks {name!r}")
    return head[name]


def texts(head: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The list of distinct texts ``head[name]``."""
    value = entry(head, name)
    if (
        not isinstance(value, list)
        or not all(isinstance(each, str) for each in value)
        or len(set(value)) < len(value)
    ):
        raise ValueError(f"{name} is {_shown(value)}, expected a list of distinct texts")
    return tuple(value)


def flag(head: Mapping[str, Any], name: str) -> bool:
    value = entry(head, name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {_shown(value)}, expected true or false")
    return value


def whole(head: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """The whole number ``head[name]``, in ``least … most``."""
    value = entry(head, name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {_shown(value)}, expected a whole number in {least} … {most}")
    return value


def rates(value: Any, name: str, n: int) -> tuple[float, ...]:
    """``n`` numbers between 0 and 1, without the two."""
    if (
        not isinstance(value, list)
        or len(value) != n
        or not all(_is_real(each) and 0 < each < 1 for each in value)
    ):
        raise ValueError(f"{name} is {_shown(value)}, expected {n} numbers between 0 and 1")
    return tuple(map(float, value))


def scales(head: Mapping[str, Any], name: str) -> list[tuple[str, bool, float, float]]:
    """The rows [name, log, mean, scale] of ``head[name]``: finite, scales above 0."""
    value = entry(head, name)
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        fits = (
            isinstance(row, list) and len(row) == 4 and isinstance(row[0], str) and isinstance(row[1], bool)
        )
        if not fits or not _is_real(row[2]) or not _is_real(row[3]) or row[3] <= 0:
            raise ValueError(
                f"{name} holds {_shown(row)}, expected [name, log, mean, scale] with scale above 0"
            )
    return [(row[0], row[1], float(row[2]), float(row[3])) for row in rows]


def _is_real(value: Any) -> bool:
    """A number that float64 holds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < 1e300 and isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
