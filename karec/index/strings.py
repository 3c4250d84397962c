"""Strings as two arrays in the layout of Arrow, without Python objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DIGITS = 20  # of a 64-bit integer, with its sign


@dataclass(frozen=True, eq=False)
class Strings:
    """N strings of UTF-8: string i is ``text[offsets[i]:offsets[i + 1]]``. Native calls check them.

    offsets  (N + 1,) int64
    text     (number of bytes,) uint8
    """

    offsets: NDArray[np.int64]
    text: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_values(cls, values: Any) -> Strings:
        """Returns the strings of a sequence or array of str, or of an Arrow string array.

        The array may be chunked or dictionary-encoded; buffers of a plain one are not copied.

        Raises ValueError for a value that is not a str, a missing value or a lone surrogate, with its
        position.
        """
        if isinstance(values, Strings):
            return values
        if is_arrow(values):
            return _from_arrow(values)
        texts = values if isinstance(values, list | tuple) else flat_array(values).tolist()
        return _from_texts(texts)

    @classmethod
    def from_integers(cls, values: NDArray[Any]) -> Strings:
        """Returns the decimal digits of (N,) integers."""
        digits = values.astype(f"S{MAX_DIGITS}").view(np.uint8).reshape(len(values), MAX_DIGITS)
        is_digit = digits != 0
        return cls(_offsets(is_digit.sum(axis=1)), digits[is_digit])

    def to_list(self) -> list[str]:
        text = self.text.tobytes()
        ends = self.offsets.tolist()
        return [text[begin:end].decode() for begin, end in pairwise(ends)]

    def to_integers(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Returns (N,) integers from their digits, 0 for an empty string."""
        lengths = np.diff(self.offsets)
        digits = np.zeros((len(self), MAX_DIGITS), np.uint8)
        digits[lengths == 0, 0] = ord("0")
        digits[np.arange(MAX_DIGITS) < lengths[:, None]] = self.text[self.offsets[0] : self.offsets[-1]]
        return digits.view(f"S{MAX_DIGITS}").ravel().astype(dtype)


def flat_array(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"ids has shape {array.shape}, expected (N,)")
    return array


def is_arrow(values: Any) -> bool:
    """Returns True for an array of pyarrow, without importing pyarrow."""
    return hasattr(values, "null_count") and (hasattr(values, "buffers") or hasattr(values, "chunks"))


def check_no_nulls(values: Any) -> None:
    """Raises ValueError with the position of the first missing value of an Arrow array."""
    if values.null_count:
        at = int(np.argmax(np.asarray(values.is_null())))
        raise ValueError(f"ids hold no value at position {at}")


def _from_arrow(values: Any) -> Strings:
    check_no_nulls(values)
    if not len(values):
        return Strings(np.zeros(1, np.int64), np.zeros(0, np.uint8))
    value_type = str(values.type).removeprefix("dictionary<values=")
    if not value_type.startswith(("string", "large_string")):
        raise ValueError(f"ids are an Arrow array of {value_type}, expected string or an integer type")
    array = values.cast("large_string")
    array = array.combine_chunks() if hasattr(array, "chunks") else array
    _, offsets, text = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return Strings(ends, np.zeros(0, np.uint8) if text is None else np.frombuffer(text, np.uint8))


def _from_texts(texts: Sequence[Any]) -> Strings:
    try:
        joined = "".join(texts)
    except TypeError:
        at, bad = next((i, text) for i, text in enumerate(texts) if not isinstance(text, str))
        raise ValueError(f"ids hold {bad!r} ({type(bad).__name__}) at position {at}, expected str") from None
    if joined.isascii():
        lengths, text = map(len, texts), joined.encode()
    else:
        encoded = [_encode(text, at) for at, text in enumerate(texts)]
        lengths, text = map(len, encoded), b"".join(encoded)
    return Strings(_offsets(np.fromiter(lengths, np.int64, len(texts))), np.frombuffer(text, np.uint8))


def _encode(text: str, at: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"ids hold {text!r} at position {at}, which is not Unicode text: {error.reason}"
        ) from None


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
