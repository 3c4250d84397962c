"""Golden files: a model's inputs and the outputs that they must give, for hosts in other languages to check
against.

Little-endian, every part at a multiple of 8 bytes, so that a reader may map the file and point into it; the
layout stands in docs/formats.md.
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
    """Write ``inputs`` and ``outputs``, float32 or int64 arrays by name; raises ValueError for another
    dtype."""
    parts = [MAGIC, struct.pack("<II", VERSION, len(inputs) + len(outputs))]
    for role, arrays in enumerate((inputs, outputs)):
        for name, array in arrays.items():
            values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            if values.dtype not in DTYPES:
                raise ValueError(f"{name} is {array.dtype}, a golden file holds float32 and int64")
            text = name.encode()
            parts += [struct.pack("<IIII", role, DTYPES[values.dtype], len(text), values.ndim), _padded(text)]
            parts += [struct.pack(f"<{values.ndim}q", *values.shape), _padded(values.tobytes())]
    with file_aside(path) as file:
        file.write(b"".join(parts))


def read_golden(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """(inputs, outputs) of a golden file; raises DataError when it is none, of another version, or cut
    short."""
    data = path.read_bytes()
    arrays: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]] = ({}, {})
    dtypes = {code: dtype for dtype, code in DTYPES.items()}
    try:
        version, n_arrays = struct.unpack_from("<II", data, len(MAGIC))
        if data[: len(MAGIC)] != MAGIC or version != VERSION:
            raise DataError(f"{path} is not a golden file of version {VERSION}")
        at = len(MAGIC) + 8
        for _ in range(n_arrays):
            role, dtype, length, rank = struct.unpack_from("<IIII", data, at)
            at += 16
            name = data[at : at + length].decode()
            at += _round_up(length)
            shape = struct.unpack_from(f"<{rank}q", data, at)
            at += 8 * rank
            n = int(np.prod(shape))
            arrays[role][name] = np.frombuffer(data, dtypes[dtype], n, at).reshape(shape)
            at += _round_up(n * dtypes[dtype].itemsize)
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path} is not a whole golden file: {error}") from error
    return arrays


def _round_up(n: int) -> int:
    return -(-n // 8) * 8


def _padded(data: bytes) -> bytes:
    return data.ljust(_round_up(len(data)), b"\0")
