"""Conditions on columns of the item index in a request: which items may be on the page.

    {"all": [{"column": "tag", "in": ["pop", "rock"]}, {"not": {"column": "price", "at_least": 20}}]}

A value is missing if it is NaN, or a negative code of a category. As in SQL, a comparison with a missing
value is unknown, and so is ``not`` of it. An item may be on the page if the condition is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from threading import Lock
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType
from numpy.typing import NDArray

from karec.errors import nearest

Scalar = bool | int | float | str
Bool = NDArray[np.bool_]
MAX_TERMS, MAX_VALUES = 32, 1_000  # comparisons of a condition, and values of ``in``
MAX_DEPTH = 16  # conditions inside each other
MAX_NAMES = 1_000  # of a category, to suggest the nearest one in a message
FEW = 16  # values that are compared one by one, which is faster than np.isin
MAX_MASKS = 16  # in a cache; a mask has a byte for each row of the index and each item of sources' lists

Codes = Mapping[str, Mapping[str, int]]
"""{category: {name: code}}"""


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
    between     the smallest and the largest value. A category has no order
    is_missing  there is no value
    """

    all: tuple[Where, ...] | UnsetType = UNSET
    any: tuple[Where, ...] | UnsetType = UNSET
    not_: Where | UnsetType = UNSET
    column: str | UnsetType = UNSET
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
        """Raises ValueError for another key or type."""
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


def allowed_rows(where: Where, columns: Mapping[str, NDArray[Any]], codes: Codes) -> Bool:
    """Returns (N,) True for rows of ``columns`` (N,) that satisfy ``where``. Cost: O(N) for each comparison.

    Raises ValueError for an unknown column, or a value of another type than the column.
    """
    return _rows_where(where, True, columns, codes)


@dataclass(frozen=True, eq=False)
class AllowedRows:
    """The rows of an index view that pages may have. Any number of threads may call.

    rows  (n_rows,) bool, read-only
    """

    rows: Bool
    _masks_of_lists: dict[int, tuple[NDArray[Any], Bool]] = field(default_factory=dict, repr=False)

    def at(self, rows: NDArray[Any]) -> Bool:
        """Returns (N,) bool for ``rows`` (N,) of the view, False for row −1."""
        if not len(self.rows):  # an item type whose items have no vectors
            return np.zeros(len(rows), bool)
        return np.asarray(self.rows[rows] & (np.asarray(rows) >= 0))

    def at_list(self, rows: NDArray[Any]) -> Bool:
        """Returns ``at(rows)``, and keeps it for later calls with this array, which must not change."""
        found = self._masks_of_lists.get(id(rows))
        if found is None:
            found = self._masks_of_lists[id(rows)] = rows, self.at(rows)
        return found[1]


class MaskCache:
    """The newest masks by condition and generation of the index. Any number of threads may call."""

    def __init__(self) -> None:
        self._masks: dict[tuple[Where | None, int], AllowedRows] = {}
        self._lock, self._making = Lock(), Lock()

    def get(self, where: Where | None, generation: int, make: Callable[[], AllowedRows]) -> AllowedRows:
        """Returns the mask of ``make()``. One thread at a time calls it, if the cache lacks the mask."""
        key = where, generation
        mask = self._find(key)
        if mask is not None:
            return mask
        with self._making:
            mask = self._find(key)
            if mask is None:
                mask = make()
                with self._lock:
                    self._masks[key] = mask
                    while len(self._masks) > MAX_MASKS:
                        del self._masks[next(iter(self._masks))]
        return mask

    def __contains__(self, where: Where) -> bool:
        """Returns True if there is a mask of ``where``, of any generation."""
        with self._lock:
            return any(condition == where for condition, _ in self._masks)

    def _find(self, key: tuple[Where | None, int]) -> AllowedRows | None:
        """Returns the mask of the key, which becomes the newest; None if the cache lacks it."""
        with self._lock:
            mask = self._masks.pop(key, None)
            if mask is not None:
                self._masks[key] = mask
            return mask


def _rows_where(where: Where, wanted: bool, columns: Mapping[str, NDArray[Any]], codes: Codes) -> Bool:
    """Returns (N,) bool: the condition is true, or false if ``wanted`` is False; never if it is unknown."""
    if where.not_ is not UNSET:
        return _rows_where(where.not_, not wanted, columns, codes)
    if where.column is not UNSET:
        return _compare(where, wanted, where.column, columns, codes)
    parts = [_rows_where(part, wanted, columns, codes) for part in where.parts()]
    join = np.logical_and if (where.all is not UNSET) == wanted else np.logical_or
    return reduce(join, parts)  # join.reduce would copy the parts into one array


def _compare(
    where: Where, wanted: bool, name: str, columns: Mapping[str, NDArray[Any]], codes: Codes
) -> Bool:
    if name not in columns:
        raise ValueError(f"where: no column {name!r}{nearest(name, columns)}; there are {sorted(columns)}")
    column, names = columns[name], codes.get(name)
    is_missing = column < 0 if names is not None else np.isnan(column) if column.dtype.kind == "f" else None
    if where.is_missing is not UNSET:
        is_missing = np.zeros(len(column), bool) if is_missing is None else is_missing
        return is_missing if wanted else ~is_missing

    def number(value: Scalar) -> float | int:
        return _to_number(name, value, column.dtype, names)

    if where.in_ is UNSET and where.equal is UNSET and names is not None:
        raise ValueError(f"where: the column {name!r} is a category, which has no order: use equal or in")
    is_true: Bool
    if where.in_ is not UNSET:
        is_true = _is_in(column, [number(value) for value in where.in_])
    elif where.between is not UNSET:
        low, high = map(number, where.between)
        is_true = (column >= low) & (column <= high)
    elif where.less is not UNSET:
        is_true = column < number(where.less)
    elif where.at_least is not UNSET:
        is_true = column >= number(where.at_least)
    elif where.equal is not UNSET:
        is_true = _is_in(column, [number(where.equal)])
    result = is_true if wanted else ~is_true
    return result if is_missing is None else result & ~is_missing


def _is_in(column: NDArray[Any], values: Sequence[float | int]) -> Bool:
    """Returns (N,) bool: the value is one of ``values``, rounded to the type of a column of floats."""
    exact = (
        np.array(values, column.dtype)
        if column.dtype.kind == "f"
        else np.array([int(value) for value in values if value == int(value)], np.int64)
    )
    if 0 < len(exact) <= FEW:
        return reduce(np.logical_or, [np.asarray(column == value) for value in exact.tolist()])
    return np.isin(column, exact)


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
        except ValueError as error:
            raise ValueError(f"where: {name!r} is compared with {value!r}: {error}") from None
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, str) or not -(2.0**63) <= value < 2.0**63:
        raise ValueError(
            f"where: the column {name!r} holds {dtype}, and is compared with {value!r}: expected a number "
            "from -2^63 to 2^63"
        )
    return value
