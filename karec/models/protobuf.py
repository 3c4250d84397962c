"""The wire format of protocol buffers, of which ONNX files are made: fields read where they lie, and written.

Source  https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Value = int | memoryview  # of a field: a number, or the bytes of what is not one


def fields(view: memoryview) -> Iterator[tuple[int, Value]]:
    """(field number, value) of each field of a message, in order. ValueError for what is cut short or no
    message."""
    at, end = 0, len(view)
    while at < end:
        tag = view[at]
        at += 1
        if tag > 127:  # a call of varint for each number takes most of the time of a file with trees
            tag, at = varint(view, at - 1)
        kind = tag & 7
        if not tag >> 3:
            raise ValueError("it is no ONNX file, or a damaged one")
        if kind == _VARINT:
            if at < end and view[at] < 128:
                value = view[at]
                at += 1
            else:
                value, at = varint(view, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("it is no ONNX file, or a damaged one")
        if at + size > end:
            raise ValueError("it is no ONNX file, or cut short")
        yield tag >> 3, view[at : at + size]
        at += size


def varint(view: memoryview, at: int) -> tuple[int, int]:
    """(the number at byte ``at``, where the next byte is); ValueError when it does not end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError("it is no ONNX file, or cut short")
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise ValueError("it is no ONNX file, or a damaged one")


def bytes_of(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is no ONNX file, or a damaged one")
    return value


def number_of(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("it is no ONNX file, or a damaged one")
    return value


def text_of(value: Value) -> str:
    return bytes(bytes_of(value)).decode("utf-8", "replace")


def field(number: int, value: int | bytes | memoryview) -> bytes:
    """One field: a number ≥ 0 as a varint, anything else as bytes with their length."""
    if isinstance(value, int):
        return _as_varint(number << 3 | _VARINT) + _as_varint(value)
    return b"".join((_as_varint(number << 3 | _BYTES), _as_varint(len(value)), value))


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
