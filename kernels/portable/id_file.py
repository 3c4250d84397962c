"""The id file, version 1, read and written as ``native/src/ids/layout.hpp`` lays it out, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import IndexFormatError
from karec.kernels.portable.arrays import Int64
from karec.kernels.portable.id_text import numbers_of, strings_input
from karec.kernels.portable.index_layout import BYTE_ORDER, aligned, xxh64

MAGIC = b"karecids"
VERSION = 1
MOST_STRINGS = 2**32 - 1
MOST_BITS = 30
MOST_BYTES = 256
PLACE_STRINGS = 24
NUMBERS, UINT64 = 1, 4  # the first and the last kind

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("byte_order", "<u4"),
        ("file_bytes", "<u8"),
        ("n", "<u8"),
        ("kind", "<u4"),
        ("bits", "<u4"),
        ("seed", "<u8"),
        ("text_bytes", "<u8"),
        ("checksum", "<u8"),
        ("sums", "<u8", 4),
        ("reserved", "<u8", 4),
    ]
)
PLACE = np.dtype([("begin", "<u8"), ("last", "u1", PLACE_STRINGS)])


@dataclass(frozen=True)
class Contents:
    kind: int
    seed: int
    numbers: Int64  # (N,) ascending
    places: NDArray[Any]  # PLACE
    text: NDArray[np.uint8]
    file_bytes: int

    def extents(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """(N,) where each string begins, (N,) its length."""
        lengths = self.places["last"].astype(np.int64) + 1
        before = np.cumsum(lengths, axis=1) - lengths
        begins = self.places["begin"][:, None] + before.astype(np.uint64)
        n = len(self.numbers)
        return begins.ravel()[:n], lengths.ravel()[:n]


def damaged(what: str) -> IndexFormatError:
    return IndexFormatError(f"not a whole karec id file: {what}")


def bits_for(n: int) -> int:
    """Top bits of a number that the directory is of."""
    return min(max((n - 1).bit_length() - 3, 0), MOST_BITS) if n > 0 else 0


def read_contents(file: NDArray[np.uint8], verify: bool) -> Contents:
    """Views of the file. IndexFormatError: what a build could not have written; without ``verify`` header,
    sizes and gaps alone are looked at."""
    header = _header(file)
    n, bits, end = int(header["n"]), int(header["bits"]), HEADER.itemsize
    sections = []
    sizes = _sizes(n, bits, int(header["text_bytes"]))
    if _end_of(sizes) != len(file):
        raise damaged("its sections do not fit its size")
    for size, checksum in zip(sizes, header["sums"], strict=True):
        begin = aligned(end)
        gap = np.flatnonzero(file[end:begin])
        if len(gap):
            raise damaged(f"the gap at byte {end + int(gap[0])} is altered")
        section = file[begin : begin + size]
        if verify and xxh64(section) != checksum:
            raise damaged(f"the section at byte {begin} is altered")
        sections.append(section)
        end = begin + size
    directory, numbers, places, text = sections
    contents = Contents(
        int(header["kind"]), int(header["seed"]), numbers.view(np.int64), places.view(PLACE), text, len(file)
    )
    if verify:
        _check(contents, directory.view(np.uint32), bits)
    return contents


def file_pieces(numbers: Int64, lengths: Int64, text: NDArray[np.uint8], kind: int, seed: int) -> list[bytes]:
    """The pieces of a file of strings that lie one behind the other, by ascending number."""
    n = len(numbers)
    places = np.zeros(-(-n // PLACE_STRINGS), PLACE)
    last = np.zeros(len(places) * PLACE_STRINGS, np.uint8)
    last[:n] = lengths - 1
    places["last"] = last.reshape(-1, PLACE_STRINGS)
    places["begin"] = (np.cumsum(lengths) - lengths)[::PLACE_STRINGS]
    parts = [_directory(numbers, bits_for(n)).tobytes(), numbers.tobytes(), places.tobytes(), text.tobytes()]
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["byte_order"] = MAGIC, VERSION, BYTE_ORDER
    header["n"], header["kind"], header["bits"], header["seed"] = n, kind, bits_for(n), seed
    header["text_bytes"], header["sums"] = len(text), [xxh64(part) for part in parts]
    header["file_bytes"] = _end_of([len(part) for part in parts])
    header["checksum"] = xxh64(header.tobytes())
    pieces, end = [header.tobytes()], HEADER.itemsize
    for part in parts:
        pieces += [bytes(aligned(end) - end), part]
        end = aligned(end) + len(part)
    return pieces


def _sizes(n: int, bits: int, text_bytes: int) -> list[int]:
    return [((1 << bits) + 1) * 4, n * 8, -(-n // PLACE_STRINGS) * PLACE.itemsize, text_bytes]


def _end_of(sizes: list[int]) -> int:
    end = HEADER.itemsize
    for size in sizes:
        end = aligned(end) + size
    return end


def _directory(numbers: Int64, bits: int) -> NDArray[np.uint32]:
    buckets = numbers >> (63 - bits) if bits else np.zeros(len(numbers), np.int64)
    return np.searchsorted(buckets, np.arange((1 << bits) + 1)).astype(np.uint32)


def _header(file: NDArray[np.uint8]) -> Any:
    if len(file) < HEADER.itemsize:
        raise damaged(f"it has {len(file)} bytes, the header alone has {HEADER.itemsize}")
    header = file[: HEADER.itemsize].view(HEADER)[0]
    if file[:8].tobytes() != MAGIC:
        raise damaged("it does not begin with 'karecids'")
    if header["byte_order"] != BYTE_ORDER:
        raise damaged("its byte order is foreign")
    if header["version"] != VERSION:
        raise IndexFormatError(
            f"the id file has version {header['version']}, this karec reads version {VERSION}"
        )
    if header["file_bytes"] != len(file):
        raise damaged(f"it has {len(file)} bytes, its header says {header['file_bytes']}")
    unsigned = header.copy()
    unsigned["checksum"] = 0
    if xxh64(unsigned.tobytes()) != header["checksum"]:
        raise damaged("its header is altered")
    n, kind, bits, text_bytes = (int(header[name]) for name in ("n", "kind", "bits", "text_bytes"))
    no_kind = not NUMBERS <= kind <= UINT64 or (kind == NUMBERS and n > 0)
    if no_kind or n > MOST_STRINGS or text_bytes > n * MOST_BYTES or bits != bits_for(n):
        raise damaged(f"its header says {n} strings of kind {kind}, {text_bytes} bytes, {bits} bits")
    if header["reserved"].any():
        raise damaged("its header holds unknown fields")
    return header


def _check(contents: Contents, directory: NDArray[np.uint32], bits: int) -> None:
    """What C++ checks too, in another order where several things are wrong."""
    numbers, text = contents.numbers, contents.text
    if (numbers[1:] <= numbers[:-1]).any():
        raise damaged("its numbers do not rise")
    if not np.array_equal(directory, _directory(numbers, bits)):
        raise damaged("its directory does not fit its numbers")
    begins, lengths = contents.extents()
    offsets = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if not np.array_equal(begins, offsets[:-1].astype(np.uint64)):
        raise damaged("its strings do not follow each other")
    if offsets[-1] != len(text):
        raise damaged("its text has more bytes than its strings")
    try:
        strings_input(offsets, text)
    except ValueError as error:
        raise damaged(str(error)) from None
    own = numbers_of(offsets, text, contents.seed)
    if not np.array_equal(own, numbers):
        raise damaged(f"the number of string {int(np.argmax(own != numbers))} is not its own")
    if contents.places["last"].ravel()[len(numbers) :].any():
        raise damaged("it has places without a string")
