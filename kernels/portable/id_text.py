"""Ids' text, many strings in two arrays (offsets, text): checked and hashed. Twin of
``native/src/ids/id_text.cpp``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from karec.kernels.portable.arrays import Int64, int64_input, read_only

MOST_BYTES = 256
SHOWN = 24

_OUTSIDE, _EMPTY, _LONG, _NO_UTF8 = range(1, 5)


def strings_input(offsets: Any, text: NDArray[Any]) -> tuple[Int64, NDArray[np.uint8]]:
    """(offsets, text), checked: each string has 1 to 256 bytes of UTF-8 within the text. A copy of the
    offsets."""
    if text.ndim != 1 or text.itemsize != 1 or text.dtype.kind != "u":
        raise ValueError(f"text has dtype {text.dtype} and shape {text.shape}, expected (B,) uint8")
    ends, content = int64_input(offsets, "offsets", ("N",)).copy(), np.ascontiguousarray(text)
    at, wrong = _first_wrong(ends, read_only(content))
    if wrong:
        raise ValueError(_refusal(ends, content, at, wrong))
    return ends, content


def numbers_of(offsets: Int64, text: NDArray[np.uint8], seed: int) -> Int64:
    """(N,) the number of each string: XXH64 without its lowest bit."""
    return np.asarray(_numbers(read_only(offsets), read_only(text), np.uint64(seed)))


def start_of(text: bytes) -> str:
    """The first 24 bytes or less: whole characters, control characters and what is no UTF-8 as \\xNN."""
    shown, at = "", 0
    content = np.frombuffer(text, np.uint8)
    while at < len(text):
        length = int(_character(content, at, len(text)))
        if at + max(length, 1) > SHOWN:
            return shown + "…"
        byte = text[at]
        shown += (
            f"\\x{byte:02x}" if not length or byte < 0x20 or byte == 0x7F else text[at : at + length].decode()
        )
        at += max(length, 1)
    return shown


def _refusal(offsets: Int64, text: NDArray[np.uint8], at: int, wrong: int) -> str:
    begin, end = int(offsets[at]), int(offsets[at + 1])
    if wrong == _OUTSIDE:
        return (
            f"offsets hold {begin} and {end} at position {at}, "
            f"expected them to rise within the {len(text)} bytes of text"
        )
    if wrong == _EMPTY:
        return f"ids hold an empty string at position {at}, expected 1 to {MOST_BYTES} bytes"
    start = start_of(text[begin:end].tobytes())
    if wrong == _LONG:
        return (
            f"ids hold a string of {end - begin} bytes at position {at}, '{start}', expected 1 to "
            f"{MOST_BYTES}"
        )
    return f"ids hold bytes that are no UTF-8 at position {at}: '{start}'"


@njit(cache=True, nogil=True)
def _first_wrong(offsets: Any, text: Any) -> Any:
    """(position, what is wrong with the first string that is no id); (0, 0) where each is one."""
    for i in range(len(offsets) - 1):
        begin, end = offsets[i], offsets[i + 1]
        if begin < 0 or end < begin or end > len(text):
            return i, _OUTSIDE
        if begin == end:
            return i, _EMPTY
        if end - begin > MOST_BYTES:
            return i, _LONG
        if not is_utf8(text, begin, end):
            return i, _NO_UTF8
    return 0, 0


@njit(cache=True, nogil=True)
def is_utf8(text: Any, begin: Any, end: Any) -> Any:
    at = begin
    while at < end:
        length = _character(text, at, end)
        if length == 0:
            return False
        at += length
    return True


@njit(cache=True, nogil=True)
def _character(text: Any, at: Any, end: Any) -> Any:
    """Bytes of the character that begins at ``at``; 0 where none does: no longer forms, no surrogates."""
    first = text[at]
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if length > end - at:
        return 0
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if text[at + 1] < low or text[at + 1] > high:
        return 0
    for k in range(2, length):
        if text[at + k] < 0x80 or text[at + k] > 0xBF:
            return 0
    return length


_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)


@njit(cache=True, nogil=True)
def _rotated(word: Any, bits: int) -> Any:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _word(text: Any, at: Any, n_bytes: int) -> Any:
    word = np.uint64(0)
    for k in range(n_bytes):
        word |= np.uint64(text[at + k]) << np.uint64(8 * k)
    return word


@njit(cache=True, nogil=True)
def _round(lane: Any, word: Any) -> Any:
    return _rotated(lane + word * _P2, 31) * _P1


@njit(cache=True, nogil=True)
def _xxh64(text: Any, begin: Any, end: Any, seed: Any) -> Any:
    """XXH64 (Y. Collet, https://xxhash.com)."""
    at = begin
    if end - begin >= 32:
        a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while end - at >= 32:
            a, b = _round(a, _word(text, at, 8)), _round(b, _word(text, at + 8, 8))
            c, d = _round(c, _word(text, at + 16, 8)), _round(d, _word(text, at + 24, 8))
            at += 32
        total = _rotated(a, 1) + _rotated(b, 7) + _rotated(c, 12) + _rotated(d, 18)
        for lane in (a, b, c, d):
            total = (total ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        total = seed + _P5
    total += np.uint64(end - begin)
    while end - at >= 8:
        total = _rotated(total ^ _round(np.uint64(0), _word(text, at, 8)), 27) * _P1 + _P4
        at += 8
    if end - at >= 4:
        total = _rotated(total ^ (_word(text, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        total = _rotated(total ^ (_word(text, at, 1) * _P5), 11) * _P1
        at += 1
    total = (total ^ (total >> np.uint64(33))) * _P2
    total = (total ^ (total >> np.uint64(29))) * _P3
    return total ^ (total >> np.uint64(32))


@njit(cache=True, nogil=True)
def _numbers(offsets: Any, text: Any, seed: Any) -> Any:
    numbers = np.empty(max(len(offsets) - 1, 0), np.int64)
    for i in range(len(numbers)):
        numbers[i] = np.int64(_xxh64(text, offsets[i], offsets[i + 1], seed) >> np.uint64(1))
    return numbers
