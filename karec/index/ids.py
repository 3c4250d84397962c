"""One table's ids ↔ the engine's numbers.

The engine knows works, users and creators by int64 ≥ 0; a negative number means "none" in rows and histories.
A table's ids are of one kind:

integer  64-bit. Where all are from 0 to 2^63 − 1, each is its own number. Where one is not, all are treated
         as strings of digits, and come back as integers (int64, or uint64 where one is 2^63 or more)
string   1 to 256 bytes of UTF-8

A string's number is 63 bits of XXH64 under a seed that the file holds. So ``numbers`` asks no table:
processes agree on the number of a user who has just arrived. The file (docs/formats.md) is for the way back,
and for ``known``. The native library does the work (``native/include/karec/string_ids.hpp``). A map never
changes: any number of threads may use it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec import _native
from karec.index.strings import Strings, flat_array, is_arrow, without_nulls

Int64 = NDArray[np.int64]

NO_NUMBER = -1  # numbers of ids are not negative
_NUMBERS, _STRINGS, _INT64, _UINT64 = range(1, 5)  # IdKind
_DTYPES = {_NUMBERS: np.dtype(np.int64), _INT64: np.dtype(np.int64), _UINT64: np.dtype(np.uint64)}


class IdMap:
    """Make one with ``build`` or ``open``. ``ids`` below: a list or array of str or of integers, an Arrow
    array of either, or ``Strings``; of the map's kind.
    """

    def __init__(self, native: _native.StringIds) -> None:
        self._native = native
        self._kind = native.kind

    @classmethod
    def build(cls, ids: Any, path: str | os.PathLike[str]) -> IdMap:
        """Writes the file, whole or not at all, and opens it. Repeated ids are one; the same ids give the
        same bytes.

        No two strings get one number: where two would, the seed is another. O(N); about 40 B a string and
        twice the text in memory. ValueError: an id that is no id, naming its position and start. OSError.
        """
        integers = _integers_of(ids)
        if integers is None:
            return cls._built(Strings.of(ids), path, _STRINGS, None)
        kind = _kind_of(integers)
        return cls._built(
            Strings.of_integers(integers if kind != _NUMBERS else integers[:0]), path, kind, None
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> IdMap:
        """Maps the file and verifies all of it, O(file): checksums, order, and that each string has its
        number.

        verify  False looks at header and sizes alone, for a sibling of a process that did verify. No call
                reads outside the file whatever it holds.

        Never write into a file that is open somewhere; replace it by another one, as ``build`` does.
        IndexFormatError: truncated, altered, or not an id file of this version. OSError.
        """
        return cls(_native.StringIds.open(os.fsencode(path), verify))

    @classmethod
    def _built(cls, strings: Strings, path: str | os.PathLike[str], kind: int, seed: int | None) -> IdMap:
        _native.StringIds.build(strings.offsets, strings.text, os.fsencode(path), kind, seed)
        return cls.open(path, verify=False)

    @property
    def kind(self) -> Literal["integer", "string"]:
        return "string" if self._kind == _STRINGS else "integer"

    @property
    def seed(self) -> int:
        """Of the numbers: maps of one kind and one seed give one string one number."""
        return self._native.seed

    def __len__(self) -> int:
        """Ids that the file holds: none where integers are their own numbers."""
        return len(self._native)

    def numbers(self, ids: Any) -> Int64:
        """(N,) int64 ≥ 0, the number of each id, held by the file or not.

        An id that the file does not hold may have the number of one that it holds: by chance once in 2^63 /
        len, and by intent of whoever chooses the id. Where strangers choose ids, ask ``known``. ValueError:
        an id that is no id or of another kind, naming its position.
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

    def known(self, ids: Any) -> NDArray[np.bool_]:
        """(N,) whether ``names`` gives the id back. Integers that are their own numbers: all from 0 on.
        ValueError."""
        if self._kind == _NUMBERS:
            return _own_numbers(self._integers(ids))
        strings = self._strings(ids)
        return self._native.known(strings.offsets, strings.text)

    def names(self, numbers: ArrayLike, *, missing: Literal["raise", "none"] = "raise") -> NDArray[Any]:
        """(N,) the ids: an object array of str, or int64 or uint64.

        A number that no id has: KeyError naming it, or, with ``missing="none"``, None at its place (in an
        object array). IndexFormatError: a damaged file that was opened without ``verify``.
        """
        given = np.asarray(numbers)
        names, absent = self._names(given)
        if len(absent) and missing == "raise":
            at = int(absent[0])
            raise KeyError(f"no id has the number {given[at]} (position {at})")
        if len(absent):
            names = names.astype(object)
            names[absent] = None
        return names

    def strings(self, numbers: ArrayLike) -> Strings:
        """The ids as text, without a Python object for each; empty where no id has the number. For tables."""
        if self._kind != _NUMBERS:
            return Strings(*self._native.texts(numbers))
        given, absent = self._names(np.asarray(numbers))
        if len(absent):
            raise KeyError(f"no id has the number {given[absent[0]]} (position {absent[0]})")
        return Strings.of_integers(given)

    def extended(self, more: Any, path: str | os.PathLike[str]) -> IdMap:
        """A new map, at ``path``, of this one's ids and of ``more``: ids, or another map. Every number stays.
        O(N + M).

        ValueError: ``more`` is of another kind or seed, or one of its ids has the number of another id: only
        a map that is built anew, with other numbers, can hold both.
        """
        if isinstance(more, IdMap):
            if (more._kind, more.seed) != (self._kind, self.seed):
                raise ValueError(
                    f"the maps are of {more.kind} ids, seed {more.seed}, and of {self.kind} ids, seed "
                    f"{self.seed}: their numbers differ, build one map of the ids of both"
                )
            strings = more._held()
        elif self._kind == _NUMBERS:
            self.numbers(more)  # refuses what is not its own number
            strings = self._held()
        else:
            strings = self._strings(more)
        return self._built(self._held().followed_by(strings), path, self._kind, self.seed)

    def _held(self) -> Strings:
        return Strings(*self._native.all_texts())

    def _names(self, numbers: NDArray[Any]) -> tuple[NDArray[Any], Int64]:
        """(names, positions of numbers that no id has)."""
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
        """As text: the digits of integers, where the map's kind is integer."""
        return Strings.of(ids) if self._kind == _STRINGS else Strings.of_integers(self._integers(ids))

    def _integers(self, ids: Any) -> NDArray[Any]:
        integers = _integers_of(ids)
        if integers is None and len(ids):
            raise ValueError("ids are not integers, those of this id map are")
        return np.zeros(0, np.int64) if integers is None else integers


def _integers_of(ids: Any) -> NDArray[Any] | None:
    """(N,) of an integer dtype; None where the ids are something else."""
    if isinstance(ids, Strings):
        return None
    if is_arrow(ids):
        if not str(ids.type).startswith(("int", "uint")):
            return None
        without_nulls(ids)
        return np.asarray(ids)
    if isinstance(ids, list | tuple) and ids and not isinstance(ids[0], int | np.integer):
        return None  # NumPy would make one kind of strings and integers
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
    """Items whose ids are their numbers, in the place of a map. ``numbers``: ValueError for an id of another
    kind."""

    kind: Literal["integer"] = "integer"

    def numbers(self, ids: Sequence[int | str]) -> NDArray[Any]:
        if any(isinstance(each, str) for each in ids):
            raise ValueError(f"{next(each for each in ids if isinstance(each, str))!r} is no integer")
        return np.asarray(ids, np.int64)

    def names(self, numbers: Any, *, missing: Literal["raise", "none"] = "raise") -> NDArray[Any]:
        return np.array(
            [None if each == NO_NUMBER else each for each in np.asarray(numbers).tolist()], object
        )
