"""Header, section table and checksums of an index file, version 1
(``native/src/index/file/index_file.hpp``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from karec.errors import IndexFormatError, MissingExtra

MAGIC = b"karecidx"
VERSION = 1
BYTE_ORDER = 0x01020304
ALIGN = 64
MOST_NAME_BYTES = 95

# The numbers are those of native/include/karec/array.hpp.
TYPES = (
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bool",
)
CODE_OF_TYPE = {name: code for code, name in enumerate(TYPES, start=1)}
STORED = ("float16", "float32", "int8")

IDS, ROWS, ID_MAP, COLUMN, SCALES, EXACT, VERSIONS, CODES, ADJUSTMENTS, BLOCKED, CENTROIDS, LISTS, SPACES = (
    range(1, 14)
)

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("byte_order", "<u4"),
        ("file_bytes", "<u8"),
        ("n_rows", "<u8"),
        ("dim", "<u4"),
        ("dtype", "<u4"),
        ("model_version", "<i8"),
        ("generation", "<u8"),
        ("n_sections", "<u8"),
        ("checksum", "<u8"),
        ("reserved", "<u8", 7),
    ]
)
ENTRY = np.dtype(
    [
        ("kind", "<u4"),
        ("dtype", "<u4"),
        ("offset", "<u8"),
        ("bytes", "<u8"),
        ("checksum", "<u8"),
        ("name", "u1", MOST_NAME_BYTES + 1),
    ]
)


def xxh64(*pieces: Any) -> int:
    try:
        import xxhash
    except ImportError as error:
        raise MissingExtra("xxhash", "portable", "an index file without the C++ extension") from error
    total = xxhash.xxh64()
    for piece in pieces:
        total.update(piece)
    return int(total.intdigest())


def damaged(what: str) -> IndexFormatError:
    return IndexFormatError(f"not a whole karec index file: {what}")


def name_fits(name: str) -> bool:
    return 0 < len(name_bytes(name)) <= MOST_NAME_BYTES and "\0" not in name


def name_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def aligned(offset: int) -> int:
    return (offset + ALIGN - 1) // ALIGN * ALIGN
