"""Arrays and JSON in files that others wrote: what a file declares must be what it holds, before memory is
taken.

A ``.npy`` file is mapped; an ``.npz`` archive is read, and only one as ``np.savez`` writes it: members are
stored, not compressed, so that reading all of them takes no more memory than the file has bytes. Only numbers
and booleans in this machine's byte order are read: no texts, no structs, no pickled objects. JSON has a limit
of bytes; its numbers are finite.

Refusals are OSErrors and ValueErrors that say why, and of an archive in which member; the caller names the
file.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Mapping
from io import BufferedReader
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST_JSON_BYTES = 16 << 20  # parsed, text takes up to about 30 times its bytes
MOST_MEMBERS = 4096
MOST_DIRECTORY_BYTES = 1 << 20  # of the list of members at an archive's end
_PIECE = 1 << 20
_MOST_HEADER_BYTES = 10_000
_AT_END, _AT_END_64 = 22, 20  # bytes of the records that end an archive without a comment


def open_regular(path: Path) -> BufferedReader:
    """The file opened to read. OSError; ValueError for what is no regular file: to open a FIFO waits for a
    writer."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("it is not a regular file")
    return file


def map_npy(path: Path) -> Array:
    """The array of a ``.npy`` file, mapped read-only. OSError; ValueError as above."""
    with open_regular(path) as file:
        shape, columns_first, dtype = _declared(file, os.fstat(file.fileno()).st_size)
        if not prod(shape):
            return np.empty(shape, dtype)
        order = "F" if columns_first else "C"
        mapped: Array = np.memmap(file, dtype, "r", file.tell(), shape, order)  # type: ignore[call-overload]
        return np.asarray(mapped)  # a plain view: np.memmap takes 2 µs more for each element or slice


def read_bytes(path: Path, most: int) -> bytes:
    """A file of at most ``most`` bytes. OSError; ValueError as above."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"it has {size} bytes, {most} are the most")
        return file.read(most)


def read_json(path: Path) -> Any:
    """What the JSON text in a file says. OSError; ValueError as above."""
    return json_of(read_bytes(path, MOST_JSON_BYTES))


def json_of(text: bytes) -> Any:
    """What ``text``, UTF-8, says. ValueError for what is not JSON or is long, for NaN and for infinity."""
    if len(text) > MOST_JSON_BYTES:
        raise ValueError(f"it has {len(text)} bytes of JSON, {MOST_JSON_BYTES} are the most")
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_not_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _not_finite(word: str) -> None:
    raise ValueError(f"it holds {word}, which is not JSON")


def read_npz(path: Path) -> Mapping[str, Array]:
    """{name: array} of all members of an ``.npz`` archive. OSError; ValueError as above."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_directory(file, size)
        try:
            with ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(members, size)
                return {member.filename.removesuffix(".npy"): _read(archive, member) for member in members}
        except (
            BadZipFile,
            EOFError,
            RuntimeError,
            NotImplementedError,
            struct.error,
            UnicodeDecodeError,
        ) as error:
            raise ValueError(f"it is a damaged archive: {error}") from error


def _check_directory(file: IO[bytes], size: int) -> None:
    """Before the list of members is read: an archive of 32-bit sizes, without a comment, with a short
    list."""
    if size < _AT_END:
        raise ValueError(f"it has {size} bytes, too few for an archive")
    file.seek(max(size - _AT_END - _AT_END_64, 0))
    tail = file.read()
    signature, *_, members, directory, _, comment = struct.unpack("<4s4H2LH", tail[-_AT_END:])
    if signature != b"PK\5\6" or comment:
        raise ValueError("it is cut short, or no archive as np.savez writes it")
    if tail.startswith(b"PK\6\7"):
        raise ValueError("it is an archive of 64-bit sizes; 4 GiB is the most")
    if members > MOST_MEMBERS or directory > MOST_DIRECTORY_BYTES:
        raise ValueError(f"it has {members} members, {MOST_MEMBERS} are the most")


def _check_members(members: list[ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if repeated:
        raise ValueError(f"member {min(repeated)!r} stands twice")
    total = 0
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ValueError(f"member {member.filename!r} is not a .npy file")
        if member.compress_type != ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(
                f"member {member.filename!r} is compressed: {member.compress_size} bytes declare "
                f"{member.file_size}"
            )
        total += member.file_size
        if total > size:
            raise ValueError(f"members up to {member.filename!r} declare {total} bytes, the file has {size}")


def _read(archive: ZipFile, member: ZipInfo) -> Array:
    try:
        with archive.open(member) as file:
            shape, columns_first, dtype = _declared(file, member.file_size)
            array = np.empty(prod(shape), dtype)
            to = array.view(np.uint8)
            for begin in range(0, array.nbytes, _PIECE):
                piece = file.read(min(_PIECE, array.nbytes - begin))
                to[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
            file.read()  # the end of a member is where its checksum is compared
    except (BadZipFile, EOFError, RuntimeError, NotImplementedError, struct.error, ValueError) as error:
        raise ValueError(f"member {member.filename!r}: {error}") from error
    return array.reshape(shape, order="F" if columns_first else "C")


def _declared(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether columns come first, dtype) of an array in ``size`` bytes of ``file``, which is left at
    its data.

    ValueError unless it is of numbers and has as many bytes as it declares.
    """
    start = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(
                f"its .npy format is {version[0]}.{version[1]}, read is 1.0, that of short headers"
            )
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file, _MOST_HEADER_BYTES)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        TokenError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        raise ValueError(f"it is no .npy file: {str(error) or type(error).__name__}") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not dtype.isnative:
        raise ValueError(f"its dtype is {dtype}, read are numbers of this machine of at most 64 bits")
    if any(isinstance(length, bool) or length < 0 for length in shape) or len(shape) > 8:
        raise ValueError(f"its shape is {shape}")
    held, declared = size - (file.tell() - start), prod(shape) * dtype.itemsize
    if declared != held:
        raise ValueError(f"its header declares {declared} bytes (shape {shape}, {dtype}), it holds {held}")
    return shape, columns_first, dtype
