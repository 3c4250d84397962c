"""Maps the ids of a table to numbers and back.

The engine identifies items, users and creators by int64 numbers ≥ 0. A negative number means "none" in rows
and histories. The ids of a table are of one kind:

integer  64-bit. If all are from 0 to 2^63 − 1, each id is its own number. Otherwise all are stored as strings
         of digits and returned as integers: int64, or uint64 if one is 2^63 or more
string   1 to 256 bytes of UTF-8

The number of a string is 63 bits of its XXH64, under a seed in the file. ``numbers`` therefore needs no
table, and processes agree on the number of a user who has just arrived. The file (docs/formats.md) is for
``names`` and ``contains``. The native library does the work (``native/include/karec/string_ids.hpp``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native
from karec.index.strings import Strings, check_no_nulls, flat_array, is_arrow

Int64 = NDArray[np.int64]

NO_NUMBER = -1  # numbers of ids are ≥ 0
_NUMBERS, _STRINGS, _INT64, _UINT64 = range(1, 5)  # IdKind
_DTYPES = {_NUMBERS: np.dtype(np.int64), _INT64: np.dtype(np.int64), _UINT64: np.dtype(np.uint64)}


class IdMap:
    """A map of one kind of ids, which never changes. Any number of threads may use it.

    ``build`` and ``open`` make a map. Ids are a list or array of str or integers, an Arrow array of either,
    or ``Strings``.
    """

    def __init__(self, native: _native.StringIds) -> None:
        self._native = native
        self._kind = native.kind

    @classmethod
    def build(cls, ids: Any, path: str | os.PathLike[str]) -> IdMap:
        """Writes the file, completely or not at all, and opens it.

        Repeated ids are stored once, and the same ids give the same bytes. If two strings have the same
        number, another seed is used.

        Raises:
            ValueError: a value that is not an id, with its position and start.
            OSError: the file cannot be written.

        Cost: O(N), and memory of about 40 B for each string and twice the text.
        """
        integers = _integers_of(ids)
        if integers is None:
            return cls._build_file(Strings.from_values(ids), path, _STRINGS)
        kind = _kind_of(integers)
        digits = Strings.from_integers(integers if kind != _NUMBERS else integers[:0])
        return cls._build_file(digits, path, kind)

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> IdMap:
        """Memory-maps the file and verifies it: checksums, order, and the number of each string. O(file).

        Never write into an open file; replace it, as ``build`` does.

        Args:
            verify: False checks only header and sizes, for a process whose sibling verified the file. No call
                reads outside the file.

        Raises:
            IndexFormatError: truncated, altered, or not an id file of this version.
            OSError: the file cannot be read.
        """
        return cls(_native.StringIds.open(os.fsencode(path), verify))

    @classmethod
    def _build_file(cls, strings: Strings, path: str | os.PathLike[str], kind: int) -> IdMap:
        _native.StringIds.build(strings.offsets, strings.text, os.fsencode(path), kind)
        return cls.open(path, verify=False)

    @property
    def kind(self) -> Literal["integer", "string"]:
        return "string" if self._kind == _STRINGS else "integer"

    @property
    def seed(self) -> int:
        """The seed of the numbers. Maps of one kind with the same seed have the same numbers."""
        return self._native.seed

    def __len__(self) -> int:
        """The number of ids in the file, 0 if integers are their own numbers."""
        return len(self._native)

    def numbers(self, ids: Any) -> Int64:
        """Returns (N,) int64 ≥ 0, the number of each id, even if the file does not have the id.

        An id that is not in the file may have the number of one that is: by chance with probability len /
        2^63, or on purpose if strangers choose ids. Check such ids with ``contains``.

        Raises ValueError for a value that is not an id or of another kind, with its position.
        """
        if self._kind != _NUMBERS:
            strings = self._strings(ids)
            return self._native.numbers(strings.offsets, strings.text)
        integers = self._integers(ids)
        bad = np.flatnonzero(~_own_numbers(integers))[:1]
        for at in bad.tolist():
            raise ValueError(
                f"ids hold {integers[at]} at position {at}, expected 0 to 2^63 − 1 as in this id map"
            )
        return integers.astype(np.int64, copy=False)

    def contains(self, ids: Any) -> NDArray[np.bool_]:
        """Returns (N,) True for ids that ``names`` can return: ids of the file, or all integers from 0 on.

        Raises ValueError as ``numbers``.
        """
        if self._kind == _NUMBERS:
            return _own_numbers(self._integers(ids))
        strings = self._strings(ids)
        return self._native.known(strings.offsets, strings.text)

    def names(self, numbers: ArrayLike, *, missing: Literal["raise", "none"] = "raise") -> NDArray[Any]:
        """Returns (N,) the ids of numbers: an object array of str, or int64 or uint64.

        Args:
            numbers: (N,) int64.
            missing: "none" returns an object array with None for a number that no id has.

        Raises:
            KeyError: a number that no id has.
            IndexFormatError: a damaged file that was opened without ``verify``.
        """
        array = np.asarray(numbers)
        names, absent = self._names(array)
        if len(absent) and missing == "raise":
            at = int(absent[0])
            raise KeyError(f"no id has the number {array[at]} (position {at})")
        if len(absent):
            names = names.astype(object)
            names[absent] = None
        return names

    def strings(self, numbers: ArrayLike) -> Strings:
        """Returns the ids as text without Python objects, empty for a number that no string has.

        Raises KeyError for a number that no integer id has.
        """
        if self._kind != _NUMBERS:
            return Strings(*self._native.texts(numbers))
        integers, absent = self._names(np.asarray(numbers))
        if len(absent):
            raise KeyError(f"no id has the number {integers[absent[0]]} (position {absent[0]})")
        return Strings.from_integers(integers)

    def _names(self, numbers: NDArray[Any]) -> tuple[NDArray[Any], Int64]:
        """Returns the names, and the positions of numbers that no id has."""
        if self._kind == _STRINGS:
            listed = self._native.names(numbers)
            names = np.empty(len(listed), object)
            names[:] = listed
            return names, np.array([i for i, name in enumerate(listed) if name is None], np.int64)
        if self._kind == _NUMBERS:
            integers = self._integers(numbers)
            return integers.astype(np.int64, copy=False), np.flatnonzero(~_own_numbers(integers))
        texts = Strings(*self._native.texts(numbers))
        return texts.to_integers(_DTYPES[self._kind]), np.flatnonzero(np.diff(texts.offsets) == 0)

    def _strings(self, ids: Any) -> Strings:
        return (
            Strings.from_values(ids) if self._kind == _STRINGS else Strings.from_integers(self._integers(ids))
        )

    def _integers(self, ids: Any) -> NDArray[Any]:
        integers = _integers_of(ids)
        if integers is None and len(ids):
            raise ValueError("ids are not integers, those of this id map are")
        return np.zeros(0, np.int64) if integers is None else integers


def _integers_of(ids: Any) -> NDArray[Any] | None:
    """Returns (N,) of an integer dtype, or None if the ids are not integers."""
    if isinstance(ids, Strings):
        return None
    if is_arrow(ids):
        if not str(ids.type).startswith(("int", "uint")):
            return None
        check_no_nulls(ids)
        return np.asarray(ids)
    if isinstance(ids, list | tuple) and ids and not isinstance(ids[0], int | np.integer):
        return None  # NumPy would convert integers in the list to strings
    array = flat_array(ids)
    return array if array.dtype.kind in "iu" else None


def _kind_of(integers: NDArray[Any]) -> int:
    if _own_numbers(integers).all():
        return _NUMBERS
    return _INT64 if integers.dtype.kind == "i" else _UINT64


def _own_numbers(integers: NDArray[Any]) -> NDArray[np.bool_]:
    if integers.dtype.kind == "i":
        return np.asarray(integers >= 0)
    return np.asarray(integers <= np.array(2**63 - 1, np.uint64))


class PlainIds:
    """Map of items whose ids are their numbers. ``numbers`` raises ValueError for a string."""

    kind: Literal["integer"] = "integer"

    def numbers(self, ids: Sequence[int | str]) -> NDArray[Any]:
        for item_id in ids:
            if isinstance(item_id, str):
                raise ValueError(f"{item_id!r} is not an integer")
        return np.asarray(ids, np.int64)

    def names(self, numbers: Any, *, missing: Literal["raise", "none"] = "raise") -> NDArray[Any]:
        ids = [None if number == NO_NUMBER else number for number in np.asarray(numbers).tolist()]
        return np.array(ids, object)
