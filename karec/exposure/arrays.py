"""Arrays of numbers: values by int64 key, for the few of many candidates that have one, and JSON."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

MAX_TABLE_KEY = 4_095  # a table of 32 KiB; columns of types, tags and categories
NO_IDS: Int64s = np.empty(0, np.int64)


def encode(value: object) -> bytes:
    """Returns ``value`` as JSON. Arrays (N,) are lists."""
    return msgspec.json.encode(value, enc_hook=lambda array: array.tolist())


def decode(text: bytes, cls: type[T]) -> T:
    """Returns what ``encode`` wrote. Raises ValueError for another value."""
    try:
        return msgspec.json.decode(text, type=cls, dec_hook=_to_array)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _to_array(hint: Any, value: Any) -> NDArray[Any]:
    is_int = typing.get_args(typing.get_args(hint)[1]) == (np.int64,)
    try:
        if is_int:
            return np.array(msgspec.convert(value, list[int]), np.int64)
        return np.array(msgspec.convert(value, list[float]), np.float64)
    except OverflowError as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True, eq=False)
class SparseValues:
    """A value for each of P keys. Both arrays are read-only, so any number of threads may read them.

    keys    (P,) int64, ascending
    values  (P,) float64
    """

    keys: NDArray[Any]
    values: NDArray[Any]

    def __post_init__(self) -> None:
        self.keys.setflags(write=False)
        self.values.setflags(write=False)

    @classmethod
    def from_parts(cls, parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Self:
        """Returns the sum of ``parts`` of (keys, values), in any order: values of equal keys are added."""
        keys, positions = np.unique(
            np.concatenate([keys for keys, _ in parts]).astype(np.int64), return_inverse=True
        )
        return cls(keys, np.bincount(positions, np.concatenate([values for _, values in parts]), len(keys)))

    def with_values(self, keys: NDArray[Any], values: NDArray[Any]) -> SparseValues:
        """Returns a copy with ``values (M,)`` for those of ``keys (M,)`` that it has. O(P + M log P)."""
        positions, is_known = find_keys(self.keys, keys)
        new_values = self.values.copy()
        new_values[positions[is_known]] = values[is_known]
        return SparseValues(self.keys, new_values)

    def __len__(self) -> int:
        return len(self.keys)

    def add_to(self, total: NDArray[Any], column: NDArray[Any]) -> None:
        """Adds to ``total (N,)`` the values of the keys ``column (N,)``; others add nothing.

        O(N) if all keys are in 0 … MAX_TABLE_KEY, else O(N log P).
        """
        keys = column.astype(np.int64, copy=False)
        if self._table is not None:
            total += self._table.take(keys + 1, mode="clip")
            return
        positions, is_known = find_keys(self.keys, keys)
        total[is_known] += self.values[positions[is_known]]

    @cached_property
    def _table(self) -> NDArray[Any] | None:
        """Values by key + 1, with 0 at both ends for all other keys; None if a key is out of range."""
        if not len(self.keys) or self.keys[0] < 0 or self.keys[-1] > MAX_TABLE_KEY:
            return None
        table = np.zeros(int(self.keys[-1]) + 3)
        table[self.keys + 1] = self.values
        return table


def find_keys(keys: NDArray[Any], queries: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (positions (M,) in ``keys``, is_known (M,): True if the key there is the query).

    ``keys`` are ascending. O(M log keys).
    """
    if not len(keys):
        return np.zeros(len(queries), np.int64), np.zeros(len(queries), bool)
    positions = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return positions, keys[positions] == queries
