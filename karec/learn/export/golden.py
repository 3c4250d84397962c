"""Golden files: inputs of a model and the expected outputs, to check hosts in other languages.

Little-endian, each part at a multiple of 8 bytes, so a reader can map the file. docs/formats.md describes the
layout.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.files import file_aside

MAGIC = b"KARECGLD"
VERSION = 1
ROLES = ("input", "output")
DTYPES: dict[np.dtype[Any], int] = {np.dtype("<f4"): 1, np.dtype("<i8"): 2}


def write_golden(path: Path, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
    """Writes ``inputs`` and ``outputs`` by name. Raises ValueError unless float32 or int64."""
    parts = [MAGIC, struct.pack("<II", VERSION, len(inputs) + len(outputs))]
    for role, arrays in enumerate((inputs, outputs)):
        for name, array in arrays.items():
            values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            if values.dtype not in DTYPES:
                raise ValueError(f"{name} is {array.dtype}, expected float32 or int64")
            text = name.encode()
            parts += [struct.pack("<IIII", role, DTYPES[values.dtype], len(text), values.ndim), _padded(text)]
            parts += [struct.pack(f"<{values.ndim}q", *values.shape), _padded(values.tobytes())]
    with file_aside(path) as file:
        file.write(b"".join(parts))


def read_golden(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Returns (inputs, outputs). Raises DataError if the file is damaged or of another version."""
    data = path.read_bytes()
    arrays: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]] = ({}, {})
    dtypes = {code: dtype for dtype, code in DTYPES.items()}
    try:
        version, n_arrays = struct.unpack_from("<II", data, len(MAGIC))
        if data[: len(MAGIC)] != MAGIC or version != VERSION:
            raise DataError(f"{path}: not a golden file of version {VERSION}")
        offset = len(MAGIC) + 8
        for _ in range(n_arrays):
            role, dtype, length, rank = struct.unpack_from("<IIII", data, offset)
            offset += 16
            name = data[offset : offset + length].decode()
            offset += _round_up(length)
            shape = struct.unpack_from(f"<{rank}q", data, offset)
            offset += 8 * rank
            n = int(np.prod(shape))
            arrays[role][name] = np.frombuffer(data, dtypes[dtype], n, offset).reshape(shape)
            offset += _round_up(n * dtypes[dtype].itemsize)
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: truncated or damaged golden file: {error}") from error
    return arrays


def _round_up(n: int) -> int:
    return -(-n // 8) * 8


def _padded(data: bytes) -> bytes:
    return data.ljust(_round_up(len(data)), b"\0")
