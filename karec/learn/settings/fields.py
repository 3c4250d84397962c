"""A setting is a dataclass field that carries its meaning, default and bounds, and is checked when it is
made."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from karec.errors import ConfigError

T = TypeVar("T")
LARGEST = 2**63 - 1  # of whole numbers


@dataclass(frozen=True)
class Bounds:
    """A number is > ``above``, ≥ ``at_least`` and ≤ ``at_most``; None does not bound it."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def wanted(self, value: float) -> str | None:
        """What ``value`` should have been, in words; None where it is within the bounds."""
        if (
            self.at_least is not None
            and self.at_most is not None
            and not self.at_least <= value <= self.at_most
        ):
            return f"{self.at_least} to {self.at_most}"
        if self.above is not None and not value > self.above:
            return f"more than {self.above}"
        if self.at_least is not None and not value >= self.at_least:
            return f"at least {self.at_least}"
        if self.at_most is not None and not value <= self.at_most:
            return f"at most {self.at_most}"
        return None


def setting(
    default: T,
    meaning: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> T:
    """A dataclass field: ``meaning`` is what docs/howto-train.md says of it; the bounds are those of its
    numbers."""
    metadata = {"meaning": meaning, "bounds": Bounds(above, at_least, at_most)}
    if isinstance(default, dict):
        return cast(T, dataclasses.field(default_factory=default.copy, metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """Base of the frozen dataclasses of settings: checks every field that ``setting`` made as the object is
    made.

    Raises ConfigError naming the field, its value and what is expected: a number that is not finite or out of
    bounds, a value that is none of a Literal's, anything else where a number is wanted. A whole number where
    a float is wanted becomes a float, so that later arithmetic has one dtype.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for each in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if "bounds" in each.metadata:
                value = _checked(
                    each.name, getattr(self, each.name), hints[each.name], each.metadata["bounds"]
                )
                object.__setattr__(self, each.name, value)


def _checked(name: str, value: Any, hint: Any, bounds: Bounds) -> Any:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal and value not in inner:
        raise ConfigError(f"{name} = {value!r}, expected one of {inner}")
    if kind is tuple:
        return tuple(_checked(f"{name}[{at}]", each, inner[0], bounds) for at, each in enumerate(value))
    if kind is Mapping:
        return {key: _checked(f"{name}.{key}", each, inner[1], bounds) for key, each in value.items()}
    if hint not in (int, float):
        return value
    if isinstance(value, bool) or not isinstance(value, (int,) if hint is int else (int, float)):
        raise ConfigError(f"{name} = {value!r}, expected a {'whole ' if hint is int else ''}number")
    if not math.isfinite(value):
        raise ConfigError(f"{name} = {value!r}, expected a finite number")
    if isinstance(value, int) and value > LARGEST:
        raise ConfigError(f"{name} = {value!r}, expected at most {LARGEST}")
    wanted = bounds.wanted(value)
    if wanted is not None:
        raise ConfigError(f"{name} = {value!r}, expected {wanted}")
    return float(value) if hint is float else value
