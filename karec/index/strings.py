"""Many strings as two arrays, the layout of Arrow: no Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_DIGITS = 20  # of a 64-bit integer, with its sign


@dataclass(frozen=True, eq=False)
class Strings:
    """N strings of UTF-8: string i is ``text[offsets[i]:offsets[i + 1]]``. Native calls that take them check
    them."""

    offsets: NDArray[np.int64]  # (N + 1,)
    text: NDArray[np.uint8]  # (B,)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, values: Any) -> Strings:
        """From Strings, an Arrow string array (chunked and dictionary-encoded too; its buffers are used where
        they lie), or any sequence or array of str.

        ValueError: something that is no str, a missing value, a lone surrogate; the message names its
        position.
        """
        if isinstance(values, Strings):
            return values
        if is_arrow(values):
            return _of_arrow(values)
        listed = values if isinstance(values, list | tuple) else flat_array(values).tolist()
        return _of_texts(listed)

    @classmethod
    def of_integers(cls, values: NDArray[Any]) -> Strings:
        """The decimal digits of (N,) integers."""
        digits = values.astype(f"S{MOST_DIGITS}").view(np.uint8).reshape(len(values), MOST_DIGITS)
        written = digits != 0
        return cls(_offsets(written.sum(axis=1)), digits[written])

    def to_list(self) -> list[str]:
        text = self.text.tobytes()
        ends = self.offsets.tolist()
        return [text[begin:end].decode() for begin, end in pairwise(ends)]

    def to_integers(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Takes ``of_integers`` back; an empty string becomes 0."""
        lengths = np.diff(self.offsets)
        digits = np.zeros((len(self), MOST_DIGITS), np.uint8)
        digits[lengths == 0, 0] = ord("0")
        digits[np.arange(MOST_DIGITS) < lengths[:, None]] = self.text[self.offsets[0] : self.offsets[-1]]
        return digits.view(f"S{MOST_DIGITS}").ravel().astype(dtype)

    def followed_by(self, others: Strings) -> Strings:
        return _concatenated([self, others])


def flat_array(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"ids has shape {array.shape}, expected (N,)")
    return array


def is_arrow(values: Any) -> bool:
    """Whether it is an array of pyarrow, which this module needs not import."""
    return hasattr(values, "null_count") and (hasattr(values, "buffers") or hasattr(values, "chunks"))


def without_nulls(values: Any) -> Any:
    """An Arrow array; ValueError naming the first missing value."""
    if values.null_count:
        at = int(np.argmax(np.asarray(values.is_null())))
        raise ValueError(f"ids hold no value at position {at}")
    return values


def _of_arrow(values: Any) -> Strings:
    without_nulls(values)
    if hasattr(values, "chunks"):
        return _concatenated([_of_arrow(chunk) for chunk in values.chunks])
    kind = str(values.type)
    if not len(values):
        return Strings(np.zeros(1, np.int64), np.zeros(0, np.uint8))
    if kind.startswith("dictionary"):
        return _of_arrow(values.dictionary_decode())
    if kind == "string_view":
        return _of_arrow(values.cast("large_string"))
    if kind not in ("string", "large_string"):
        raise ValueError(f"ids are an Arrow array of {kind}, expected string or an integer type")
    _, offsets, text = values.buffers()
    ends = np.frombuffer(offsets, np.int32 if kind == "string" else np.int64)
    ends = ends[values.offset : values.offset + len(values) + 1]
    bytes_ = np.zeros(0, np.uint8) if text is None else np.frombuffer(text, np.uint8)
    return Strings(ends.astype(np.int64, copy=False), bytes_)


def _of_texts(texts: Sequence[Any]) -> Strings:
    try:
        joined = "".join(texts)
    except TypeError:
        at, bad = next((i, text) for i, text in enumerate(texts) if not isinstance(text, str))
        raise ValueError(f"ids hold {bad!r} ({type(bad).__name__}) at position {at}, expected str") from None
    if joined.isascii():
        lengths, text = map(len, texts), joined.encode()
    else:
        encoded = [_encoded(text, at) for at, text in enumerate(texts)]
        lengths, text = map(len, encoded), b"".join(encoded)
    return Strings(_offsets(np.fromiter(lengths, np.int64, len(texts))), np.frombuffer(text, np.uint8))


def _encoded(text: str, at: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"ids hold {text!r} at position {at}, which is no Unicode text: {error.reason}"
        ) from None


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _concatenated(parts: Sequence[Strings]) -> Strings:
    texts = [part.text[part.offsets[0] : part.offsets[-1]] for part in parts]
    lengths = [np.diff(part.offsets) for part in parts]
    none = np.zeros(0, np.uint8)
    return Strings(_offsets(np.concatenate([none, *lengths])), np.concatenate([none, *texts]))
