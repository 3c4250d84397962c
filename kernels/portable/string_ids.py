"""Ids that are strings, as ``native/include/karec/string_ids.hpp`` defines them, in NumPy and Numba. Same
files."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec._files import file_aside
from karec.errors import IndexFormatError
from karec.kernels.portable.arrays import Int64, int64_input
from karec.kernels.portable.id_file import (
    MOST_STRINGS,
    NUMBERS,
    UINT64,
    Contents,
    damaged,
    file_pieces,
    read_contents,
)
from karec.kernels.portable.id_text import numbers_of, start_of, strings_input
from karec.kernels.portable.index_file import file_bytes

SEEDS, SEED_STEP = 64, 0x9E3779B97F4A7C15

Bytes = NDArray[np.uint8]
RawPath = bytes


class StringIds:
    """An open file. Never changed: any number of threads may use it."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._begins, self._lengths = contents.extents()

    @property
    def seed(self) -> int:
        return self._contents.seed

    @property
    def kind(self) -> int:
        return self._contents.kind

    @property
    def bytes(self) -> int:
        return self._contents.file_bytes

    @staticmethod
    def build(offsets: ArrayLike, text: Bytes, path: RawPath, kind: int, seed: int | None) -> None:
        if not NUMBERS <= kind <= UINT64:
            raise ValueError(f"kind must be {NUMBERS} to {UINT64}, got {kind}")
        text = text.copy()  # what is hashed is what is written
        ends, content = strings_input(offsets, text)
        n = max(len(ends) - 1, 0)
        if kind == NUMBERS and n:
            raise ValueError(f"integers that are their own numbers need no strings, got {n}")
        if n > MOST_STRINGS:
            raise ValueError(f"an id file holds at most 2^32 − 1 strings, got {n}")
        numbers, kept, tried = _distinct(ends, content, seed)
        lengths = np.diff(ends)[kept]
        pieces = file_pieces(numbers[kept], lengths, _gathered(content, ends[kept], lengths), kind, tried)
        with file_aside(path) as file:
            file.writelines(pieces)

    @staticmethod
    def open(path: RawPath, verify: bool) -> StringIds:
        try:
            return StringIds(read_contents(file_bytes(path, copy=False), verify))
        except IndexFormatError as error:
            raise IndexFormatError(f"{os.fsdecode(path)}: {error}") from None

    def __len__(self) -> int:
        return len(self._contents.numbers)

    def numbers(self, offsets: ArrayLike, text: Bytes) -> Int64:
        return numbers_of(*strings_input(offsets, text), self.seed)

    def known(self, offsets: ArrayLike, text: Bytes) -> NDArray[np.bool_]:
        ends, content = strings_input(offsets, text)
        lengths = np.diff(ends)
        places = self._places(numbers_of(ends, content, self.seed))
        known = places >= 0
        known[known] = self._lengths[places[known]] == lengths[known]
        ours = self._texts(places[known])[1]
        theirs = _gathered(content, ends[:-1][known], lengths[known])
        starts = np.cumsum(lengths[known]) - lengths[known]
        if len(starts):
            known[known] = np.logical_and.reduceat(ours == theirs, starts)
        return known

    def names(self, numbers: ArrayLike) -> list[str | None]:
        offsets, text = self.texts(numbers)
        content, ends = text.tobytes(), offsets.tolist()
        return [
            content[begin:end].decode(errors="replace") if end > begin else None
            for begin, end in pairwise(ends)
        ]

    def texts(self, numbers: ArrayLike) -> tuple[Int64, Bytes]:
        return self._texts(self._places(int64_input(numbers, "numbers", ("N",))))

    def all_texts(self) -> tuple[Int64, Bytes]:
        return self._texts(np.arange(len(self)))

    def _places(self, numbers: Int64) -> Int64:
        """(N,) −1 = none has the number."""
        ours = self._contents.numbers
        if not len(ours):
            return np.full(len(numbers), -1, np.int64)
        places = np.minimum(np.searchsorted(ours, numbers), len(ours) - 1)
        return np.where(ours[places] == numbers, places, -1)

    def _texts(self, places: Int64) -> tuple[Int64, Bytes]:
        found = places >= 0
        begins, lengths = self._begins[places[found]], self._lengths[places[found]]
        size = np.uint64(len(self._contents.text))
        if (begins > size).any() or (lengths.astype(np.uint64) > size - begins).any():
            raise damaged("a string lies outside its text; open it with verify")
        offsets = np.zeros(len(places) + 1, np.int64)
        offsets[1:][found] = lengths
        np.cumsum(offsets, out=offsets)
        return offsets, _gathered(self._contents.text, begins.astype(np.int64), lengths)


def _distinct(ends: Int64, text: Bytes, seed: int | None) -> tuple[Int64, Int64, int]:
    """(numbers, strings by number, each once; the first seed under which no two of them have one number)."""
    refusal = ""
    for tried in [t * SEED_STEP % 2**64 for t in range(SEEDS)] if seed is None else [seed]:
        numbers = numbers_of(ends, text, tried)
        kept, meet = _once_each(ends, text, numbers, np.argsort(numbers, kind="stable"))
        if not meet:
            return numbers, kept, tried
        one, other = (start_of(text[ends[i] : ends[i + 1]].tobytes()) for i in meet)
        refusal = f"'{one}' and '{other}' have one number under seed {tried}"
    raise ValueError(refusal)


def _once_each(ends: Int64, text: Bytes, numbers: Int64, order: Int64) -> tuple[Int64, tuple[int, ...]]:
    """(strings by number, each once; two different strings of one number, or nothing)."""
    same = np.flatnonzero(numbers[order[1:]] == numbers[order[:-1]])
    for at in same:
        one, other = int(order[at]), int(order[at + 1])
        if text[ends[one] : ends[one + 1]].tobytes() != text[ends[other] : ends[other + 1]].tobytes():
            return order, (one, other)
    kept = np.ones(len(order), bool)
    kept[same + 1] = False
    return order[kept], ()


def _gathered(text: Bytes, begins: Int64, lengths: Int64) -> Bytes:
    """The strings one behind the other."""
    starts = np.cumsum(lengths) - lengths
    return np.asarray(text[np.arange(int(lengths.sum())) + np.repeat(begins - starts, lengths)])
