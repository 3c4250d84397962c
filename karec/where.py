"""Conditions on columns of the item index in a request: which items may be on the page.

    {"all": [{"column": "tag", "in": ["pop", "rock"]}, {"not": {"column": "price", "at_least": 20}}]}

A value is missing if it is NaN, or a negative code of a category. As in SQL, a comparison with a missing
value is unknown, and so is ``not`` of it. An item may be on the page if the condition is true.

The values of a list are categories ``NAME``, ``NAME2``, … with the same names. A comparison with ``NAME`` is
true if it is true for any of them, and unknown if the first is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count, takewhile
from math import ceil, floor
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from karec.errors import nearest

Text = Annotated[str, Meta(max_length=1024)]  # messages repeat it
Scalar = bool | int | float | Text
MAX_TERMS, MAX_VALUES = 32, 1_000  # comparisons of a condition, and values of ``in``
MAX_DEPTH = 16  # conditions inside each other
MAX_NAMES = 1_000  # of a category, to suggest the nearest one in a message
OPERATORS = {  # karec::FilterOp
    "all": 1,
    "any": 2,
    "not_": 3,
    "in_": 4,
    "equal": 4,
    "less": 5,
    "at_least": 6,
    "between": 7,
    "is_missing": 8,
}

Codes = Mapping[str, Mapping[str, int]]
"""{category: {name: code}}"""

FilterTerm = tuple[int, int, str, list[int], list[float], bool]
"""A ``karec::FilterTerm``: operator, number of parts, column, integers, numbers, and if it is a category."""


class Where(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"not_": "not", "in_": "in"}
):
    """A condition: one of ``all``, ``any`` and ``not_``, or a ``column`` with one comparison.

    Values of a category are names or codes. Times, in columns that end in ``_ms``, are Unix ms or ISO 8601.

    all, any    conditions, at least one
    not_        a condition ("not" in JSON)
    equal, in_  the value, or one of the values ("in" in JSON)
    less        the value is below
    at_least    the value is not below
    between     the smallest and the largest value. A category has no order. Bounds are rounded to the type
                of the column
    is_missing  there is no value
    """

    all: tuple[Where, ...] | UnsetType = UNSET
    any: tuple[Where, ...] | UnsetType = UNSET
    not_: Where | UnsetType = UNSET
    column: Text | UnsetType = UNSET
    equal: Scalar | UnsetType = UNSET
    in_: tuple[Scalar, ...] | UnsetType = UNSET
    less: Scalar | UnsetType = UNSET
    at_least: Scalar | UnsetType = UNSET
    between: tuple[Scalar, Scalar] | UnsetType = UNSET
    is_missing: Literal[True] | UnsetType = UNSET

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not UNSET]
        joins = ("all", "any", "not_")
        is_join = len(given) == 1 and given[0] in joins
        if not is_join and not (len(given) == 2 and given[0] == "column"):
            raise ValueError(
                "expected all, any or not, or a column with one of equal, in, less, at_least, between "
                f"and is_missing; got {[name.rstrip('_') for name in given]}"
            )
        if self.all == () or self.any == () or self.in_ == ():
            raise ValueError(f"{given[-1].rstrip('_')} is empty")
        if self.in_ is not UNSET and len(self.in_) > MAX_VALUES:
            raise ValueError(f"in has {len(self.in_)} values, expected at most {MAX_VALUES}")
        if (depth := self.depth()) > MAX_DEPTH:
            raise ValueError(f"{depth} conditions are inside each other, expected at most {MAX_DEPTH}")
        if (n := sum(1 for _ in self.terms())) > MAX_TERMS:
            raise ValueError(f"{n} comparisons, expected at most {MAX_TERMS}")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Where:
        """Returns the condition of a table. Raises ValueError for another key or type."""
        try:
            return msgspec.convert(table, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"where: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        table: dict[str, Any] = msgspec.to_builtins(self)
        return table

    def parts(self) -> tuple[Where, ...]:
        """Returns the conditions of ``all``, ``any`` or ``not_``; none of a comparison."""
        return self.all or self.any or (() if self.not_ is UNSET else (self.not_,))

    def depth(self) -> int:
        return 1 + max((part.depth() for part in self.parts()), default=0)

    def terms(self) -> Iterator[Where]:
        """Yields the comparisons."""
        if self.column is not UNSET:
            yield self
        for part in self.parts():
            yield from part.terms()


def to_filter_terms(where: Where, dtypes: Mapping[str, np.dtype[Any]], codes: Codes) -> list[FilterTerm]:
    """Returns the terms of the native filter: a join follows its parts.

    Args:
        dtypes: of all columns.

    Raises:
        ValueError: an unknown column, or a value of another type than the column.
    """
    (operator,) = [name for name in OPERATORS if getattr(where, name) is not UNSET]
    if where.column is not UNSET:
        first = _to_comparison(where, where.column, operator, dtypes, codes)
        return [first] if operator == "is_missing" else _to_any_value(first, dtypes, codes)
    parts = where.parts()
    terms = [term for part in parts for term in to_filter_terms(part, dtypes, codes)]
    return [*terms, (OPERATORS[operator], len(parts), "", [], [], False)]


def _to_comparison(
    where: Where, name: str, operator: str, dtypes: Mapping[str, np.dtype[Any]], codes: Codes
) -> FilterTerm:
    if name not in dtypes:
        raise ValueError(f"where: no column {name!r}{nearest(name, dtypes)}; there are {sorted(dtypes)}")
    dtype, names = dtypes[name], codes.get(name)
    if names is not None and operator in ("less", "at_least", "between"):
        raise ValueError(f"where: the column {name!r} is a category, which has no order: use equal or in")
    given = () if operator == "is_missing" else getattr(where, operator)
    values = [
        _to_number(name, value, dtype, names) for value in (given if isinstance(given, tuple) else (given,))
    ]
    integers = [] if dtype.kind == "f" else _to_integers(operator, values)
    numbers = [float(value) for value in values] if dtype.kind == "f" else []
    return OPERATORS[operator], 0, name, integers, numbers, names is not None


def _to_any_value(first: FilterTerm, dtypes: Mapping[str, np.dtype[Any]], codes: Codes) -> list[FilterTerm]:
    """Returns the terms for all values of a list; ``first`` compares with its first one.

    Further values are no categories for the filter, so that a missing one is false, not unknown.
    """
    operator, _, name, integers, _, _ = first
    columns = takewhile(
        lambda other: name in codes and other in dtypes and codes.get(other) == codes[name],
        (f"{name}{at}" for at in count(2)),
    )
    known = [code for code in integers if code >= 0]
    terms = [first, *((operator, 0, other, known, [], False) for other in columns)]
    return terms if len(terms) == 1 else [*terms, (OPERATORS["any"], len(terms), "", [], [], False)]


def _to_integers(operator: str, values: list[float | int]) -> list[int]:
    """Returns integers that compare with integers as ``values`` do."""
    if operator in ("in_", "equal"):
        return [int(x) for x in values if x == int(x)]
    return [floor(x) if i == 1 else ceil(x) for i, x in enumerate(values)]  # the second one is an upper bound


def _to_number(
    name: str, value: Scalar, dtype: np.dtype[Any], names: Mapping[str, int] | None
) -> float | int:
    """Returns ``value`` as the column has it. Raises ValueError for another type."""
    if isinstance(value, str) and names is not None:
        if value not in names:
            near = nearest(value, names) if len(names) <= MAX_NAMES else ""
            raise ValueError(f"where: the column {name!r} has no value {value!r}{near}")
        return names[value]
    if isinstance(value, str) and name.endswith("_ms"):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"where: the column {name!r} is compared with {value!r}, expected Unix ms "
                "or ISO 8601, such as '2026-01-31'"
            ) from None
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, str) or not -(2.0**63) <= value < 2.0**63:
        raise ValueError(
            f"where: the column {name!r} holds {dtype}, and is compared with {value!r}: expected a number "
            "from -2^63 to 2^63"
        )
    return value
