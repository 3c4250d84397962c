"""The index file, version 1, read and written as ``native/src/index/file/index_file.hpp`` lays it out, byte
for byte.

    header (128 bytes) · section entry × n_sections (128 bytes each) · sections, each at a multiple of 64,
    zeros between

Reading maps the file, or copies it: O(file) with every checksum and the id map verified, O(n_sections) and
the codes without. What ``save`` could not have written is an IndexFormatError. Checksums are XXH64 with seed
0, from the package xxhash.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import IndexFormatError
from karec.kernels.portable.arrays import MOST_ROWS, Float32, Int64
from karec.kernels.portable.generation import Generation
from karec.kernels.portable.id_map import BUCKET_BYTES, IdMap, bucket_count
from karec.kernels.portable.index_layout import (
    ADJUSTMENTS,
    BLOCKED,
    BYTE_ORDER,
    CENTROIDS,
    CODE_OF_TYPE,
    CODES,
    COLUMN,
    ENTRY,
    EXACT,
    HEADER,
    ID_MAP,
    IDS,
    LISTS,
    MAGIC,
    MOST_NAME_BYTES,
    ROWS,
    SCALES,
    SPACES,
    STORED,
    TYPES,
    VERSION,
    VERSIONS,
    aligned,
    damaged,
    name_bytes,
    xxh64,
)
from karec.kernels.portable.model_versions import MOST_VERSIONS, ModelVersion, entries_of, with_entries
from karec.kernels.portable.row_lists import MOST_LISTS, RowLists, UInt16
from karec.kernels.portable.rows import MOST_DIMENSIONS, RowFormat


def file_bytes(path: bytes, copy: bool) -> NDArray[np.uint8]:
    """The file's bytes, in memory that processes share, or in a copy. OSError: it cannot be read, or is not a
    regular file: a FIFO, for example, is refused at once, without waiting for its writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            code = errno.EISDIR if stat.S_ISDIR(about.st_mode) else errno.EINVAL
            raise OSError(code, "it is not a regular file", os.fsdecode(path))
        if copy:
            with open(descriptor, "rb", closefd=False) as file:
                return np.frombuffer(file.read(), np.uint8)
        mapped = mmap.mmap(descriptor, about.st_size, prot=mmap.PROT_READ) if about.st_size else b""
        return np.frombuffer(mapped, np.uint8)
    finally:
        os.close(descriptor)


def read_index(file: NDArray[np.uint8], verify: bool) -> Generation:
    """The generation that the file holds, as views of it."""
    header = _header(file)
    n, dim, dtype = int(header["n_rows"]), int(header["dim"]), int(header["dtype"])
    row_format = RowFormat(dim, TYPES[dtype - 1])
    sections = _Sections(file, _table(file, header), n, row_format, verify)
    found = sections.by_kind()
    columns = sections.columns()
    if sections.end != len(file):
        raise damaged("something follows its last section")

    versions: Int64 = found.get(VERSIONS, file[:0]).view(np.int64)
    codes, adjustments = found.get(CODES), found.get(ADJUSTMENTS)
    if (SCALES in found) != row_format.scaled or (EXACT in found and not row_format.scaled):
        raise damaged("its rows and its scales do not fit")
    if (CODES in found) != (len(versions) > 1) or len(versions) > MOST_VERSIONS:
        raise damaged("its model versions do not fit")
    if codes is not None and n and codes.max() >= len(versions):
        raise damaged("a row is of no model version")
    blocked = None
    if BLOCKED in found and n:
        bits = np.unpackbits(found[BLOCKED], bitorder="little").view(np.bool_)
        if bits[n:].any():
            raise damaged("it blocks rows that it does not have")
        blocked = bits[:n]
    lists, list_of = _lists(found, n, row_format) if found.keys() & {CENTROIDS, LISTS} else (None, None)
    ids: Int64 = found[IDS].view(np.int64)
    id_map = IdMap(found[ID_MAP].reshape(-1, BUCKET_BYTES))
    if verify and not id_map.matches(ids):
        raise damaged("its id map does not fit its ids, or too many of them meet in one bucket")
    counted: tuple[ModelVersion, ...] = (ModelVersion(int(header["model_version"]), n),)
    if len(versions) > 1:
        counts = np.bincount(found[CODES], minlength=len(versions)).tolist()
        counted = tuple(map(ModelVersion, versions.tolist(), counts))
    if SPACES in found:
        counted = with_entries(counted, found[SPACES])
    exact = found.get(EXACT)
    scales: Float32 | None = found[SCALES].view(np.float32) if SCALES in found else None
    return Generation(
        number=int(header["generation"]),
        model_version=int(header["model_version"]),
        versions=counted,
        format=row_format,
        id_map=id_map,
        n_works=n,
        n_first_rows=n,
        ids=ids,
        rows=found[ROWS].view(row_format.dtype).reshape(n, row_format.width),
        scales=scales,
        exact=None if exact is None else exact.view(np.float32).reshape(n, RowFormat(dim, "float32").width),
        codes=codes,
        columns=columns,
        adjustments=None if adjustments is None or not n else adjustments.view(np.float32).reshape(n, 2),
        blocked=blocked,
        lists=lists,
        list_of=list_of,
        map_verified=verify,
    )


def _lists(
    found: dict[int, NDArray[np.uint8]], n_rows: int, row_format: RowFormat
) -> tuple[RowLists, UInt16]:
    """The lists, and the list of each row."""
    nothing = np.zeros(0, np.uint8)
    centroids = (
        found.get(CENTROIDS, nothing).view(np.float32).reshape(-1, RowFormat(row_format.dim, "float32").width)
    )
    lists: Int64 = found.get(LISTS, nothing).view(np.int64)
    if not 1 <= len(centroids) <= MOST_LISTS or len(lists) != len(centroids) + 2:
        raise damaged("its lists and their centroids do not fit")
    ends = lists[1:]
    if ends[0] < 0 or ends[-1] != n_rows or (ends[1:] < ends[:-1]).any():
        raise damaged("its lists do not end where its rows do")
    if not np.isfinite(centroids).all():
        raise damaged("a centroid of its lists is not finite")
    list_of = np.repeat(np.arange(len(ends), dtype=np.uint16), np.diff(ends, prepend=0))
    return RowLists(int(lists[0]), centroids), list_of


def index_bytes(g: Generation) -> list[bytes | memoryview]:
    """The pieces of the file that holds ``g``, of which no row is removed."""
    sections: list[tuple[int, int, bytes, NDArray[Any]]] = [
        (IDS, 0, b"", g.ids),
        (ROWS, 0, b"", g.rows),
        (ID_MAP, 0, b"", IdMap.of(g.ids, np.arange(g.n_rows)).buckets),
    ]
    versions = np.array([version.number for version in g.versions], np.int64) if len(g.versions) > 1 else None
    blocked = None
    if g.blocked is not None:
        blocked = np.zeros((g.n_rows + 63) // 64 * 8, np.uint8)
        bits = np.packbits(g.blocked, bitorder="little")
        blocked[: len(bits)] = bits
    centroids = lists = None
    if g.lists is not None and g.list_of is not None:
        centroids = g.lists.centroids
        ends = np.searchsorted(g.list_of, np.arange(g.lists.n + 1), side="right")
        lists = np.append(np.int64(g.lists.model_version), ends)
    several = (
        g.scales,
        g.exact,
        versions,
        g.codes,
        g.adjustments,
        blocked,
        centroids,
        lists,
        entries_of(g.versions),
    )
    sections += [
        (kind, 0, b"", part)
        for kind, part in zip(range(SCALES, SPACES + 1), several, strict=True)
        if part is not None
    ]
    sections += [
        (COLUMN, CODE_OF_TYPE[column.dtype.name], name_bytes(name), column)
        for name, column in g.columns.items()
    ]
    table = np.zeros(len(sections), ENTRY)
    pieces: list[bytes | memoryview] = []
    end = HEADER.itemsize + table.nbytes
    for entry, (kind, dtype, name, part) in zip(table, sections, strict=True):
        content = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        entry["kind"], entry["dtype"], entry["name"][: len(name)] = kind, dtype, np.frombuffer(name, np.uint8)
        entry["offset"], entry["bytes"], entry["checksum"] = aligned(end), len(content), xxh64(content)
        pieces += [bytes(aligned(end) - end), content.data]
        end = aligned(end) + len(content)
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["byte_order"] = MAGIC, VERSION, BYTE_ORDER
    header["file_bytes"], header["n_rows"], header["n_sections"] = end, g.n_rows, len(table)
    header["dim"], header["dtype"] = g.format.dim, CODE_OF_TYPE[g.format.dtype]
    header["model_version"], header["generation"] = g.model_version, g.number
    header["checksum"] = xxh64(header.tobytes(), table.tobytes())
    return [header.tobytes(), table.tobytes(), *pieces]


def _header(file: NDArray[np.uint8]) -> Any:
    if len(file) < HEADER.itemsize:
        raise damaged(f"it has {len(file)} bytes, the header alone has {HEADER.itemsize}")
    header = file[: HEADER.itemsize].view(HEADER)[0]
    if file[:8].tobytes() != MAGIC:
        raise damaged("it does not begin with 'karecidx'")
    if header["byte_order"] != BYTE_ORDER:
        raise damaged("its byte order is foreign")
    if header["version"] != VERSION:
        raise IndexFormatError(
            f"the index file has version {header['version']}, this karec reads version {VERSION}"
        )
    if header["file_bytes"] != len(file):
        raise damaged(f"it has {len(file)} bytes, its header says {header['file_bytes']}")
    if not 3 <= header["n_sections"] <= (len(file) - HEADER.itemsize) // ENTRY.itemsize:
        raise damaged(f"its header names {header['n_sections']} sections")
    unsigned = header.copy()
    unsigned["checksum"] = 0
    if xxh64(unsigned.tobytes(), _table(file, header).tobytes()) != header["checksum"]:
        raise damaged("header or section table is altered")
    n, dim, dtype = int(header["n_rows"]), int(header["dim"]), int(header["dtype"])
    known = dtype in {CODE_OF_TYPE[name] for name in STORED}
    if not known or not 1 <= dim <= MOST_DIMENSIONS or n > min(MOST_ROWS, len(file)):
        raise damaged(f"its header says {n} rows of {dim} dimensions, type {dtype}")
    if header["reserved"].any():
        raise damaged("its header holds unknown fields")
    return header


def _table(file: NDArray[np.uint8], header: Any) -> Any:
    return file[HEADER.itemsize : HEADER.itemsize + int(header["n_sections"]) * ENTRY.itemsize].view(ENTRY)


@dataclass
class _Sections:
    """The sections one after the other; each one's place, size, gap and checksum are looked at as it is
    read."""

    file: NDArray[np.uint8]
    table: Any
    n: int
    format: RowFormat
    verify: bool
    read: int = 0
    end: int = 0

    def __post_init__(self) -> None:
        self.end = HEADER.itemsize + self.table.nbytes

    def by_kind(self) -> dict[int, NDArray[np.uint8]]:
        found: dict[int, NDArray[np.uint8]] = {}
        last = 0
        for entry in self.table:
            kind = int(entry["kind"])
            if len(found) >= 3 and kind == COLUMN:
                break
            expected = kind == len(found) + 1 if len(found) < 3 else COLUMN < kind <= SPACES and kind > last
            if not expected or entry["dtype"] or entry["name"][0]:
                raise damaged("its sections are out of order")
            found[kind] = self._take(entry, self._bytes_of(kind, entry))
            last = kind
        return found

    def columns(self) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {}
        for entry in self.table[self.read :]:
            name_given, _, _ = entry["name"].tobytes().partition(b"\0")
            dtype = int(entry["dtype"])
            if (
                entry["kind"] != COLUMN
                or not 1 <= dtype <= len(TYPES)
                or not 0 < len(name_given) <= MOST_NAME_BYTES
            ):
                raise damaged("an entry of its section table names no column")
            plain = np.dtype(TYPES[dtype - 1])
            content = self._take(entry, self.n * plain.itemsize)
            name = name_given.decode("utf-8", "surrogateescape")
            if name in columns:
                raise damaged(f"column '{name}' stands twice")
            columns[name] = content.view(plain)
        return columns

    def _bytes_of(self, kind: int, entry: Any) -> int:
        for unit, kinds in ((8, (VERSIONS, LISTS)), (16, (SPACES,))):
            if kind in kinds:
                return int(entry["bytes"]) // unit * unit
        centroid = RowFormat(self.format.dim, "float32").stride
        return {
            CENTROIDS: int(entry["bytes"]) // centroid * centroid,
            IDS: self.n * 8,
            ROWS: self.n * self.format.stride,
            ID_MAP: bucket_count(self.n) * BUCKET_BYTES,
            SCALES: self.n * 4,
            EXACT: self.n * RowFormat(self.format.dim, "float32").stride,
            CODES: self.n,
            ADJUSTMENTS: self.n * 8,
            BLOCKED: (self.n + 63) // 64 * 8,
        }[kind]

    def _take(self, entry: Any, expected_bytes: int) -> NDArray[np.uint8]:
        begin, size = aligned(self.end), int(entry["bytes"])
        if size != expected_bytes or int(entry["offset"]) != begin or begin + size > len(self.file):
            raise damaged("a section's place or size does not fit")
        gap = np.flatnonzero(self.file[self.end : begin])
        if len(gap):
            raise damaged(f"the gap at byte {self.end + int(gap[0])} is altered")
        content = self.file[begin : begin + size]
        if self.verify and xxh64(content) != entry["checksum"]:
            raise damaged(f"the section at byte {begin} is altered")
        self.read, self.end = self.read + 1, begin + size
        return content
