"""A whole store in one file, and back: what a rebuild begins from when the log was retired up to some hour.

file      "KRSTATE1", then entries, then an entry of two empty texts and the number of entries u64
entry     bytes of the key u32, of the value u32, CRC-32 of both u32, key, value          (little-endian)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from karec.errors import DataError
from karec.files import file_aside, open_regular
from karec.online.store.records import HIGHEST, LOWEST, META
from karec.online.store.store import CURSOR, StateStore

MAGIC = b"KRSTATE1"
_ENTRY, _COUNT = struct.Struct("<III"), struct.Struct("<Q")
COMMITTED_AT_ONCE = 64 << 20  # bytes


def save_store(store: StateStore, path: Path) -> int:
    """Writes all entries to ``path``, whole or not at all, and returns how many. No writer may commit
    meanwhile: Conflict in what was saved cannot be told from the entries, so the cursor is compared before
    and after, and ValueError is raised.
    """
    was, n = store.read([CURSOR])[0], 0
    with file_aside(path) as file:
        file.write(MAGIC)
        for key, value in store.scan(LOWEST, HIGHEST):
            file.write(_ENTRY.pack(len(key), len(value), zlib.crc32(value, zlib.crc32(key))) + key + value)
            n += 1
        file.write(_ENTRY.pack(0, 0, 0) + _COUNT.pack(n))
        if store.read([CURSOR])[0] != was:
            raise ValueError("the store was written to while it was saved: stop its writer first")
    return n


def load_store(path: Path, store: StateStore) -> int:
    """Puts all entries of a file into an empty store, ``META`` and the cursor last, and returns how many.

    Raises DataError for a file that is damaged or cut short; a store that was loaded in part is then refused
    by ``Folded.check``. ValueError where the store is not empty.
    """
    if next(store.scan(LOWEST, HIGHEST), None) is not None:
        raise ValueError("the store is not empty: load into a new one")
    batch: dict[bytes, bytes | None] = {}
    last: dict[bytes, bytes | None] = {}
    n = n_bytes = 0
    with open_regular(path) as file:
        for key, value in _entries(path, file):
            n += 1
            if key in (CURSOR, META):
                last[key] = value
                continue
            batch[key], n_bytes = value, n_bytes + len(value)
            if n_bytes > COMMITTED_AT_ONCE:
                store.commit(batch, None)
                batch, n_bytes = {}, 0
    store.commit({**batch, **last}, None)
    return n


def _entries(path: Path, file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    if file.read(len(MAGIC)) != MAGIC:
        raise DataError(f"{path} is no saved state store")
    n = 0
    while True:
        head = file.read(_ENTRY.size)
        if len(head) < _ENTRY.size:
            raise DataError(f"{path} is cut short after {n} entries")
        n_key, n_value, crc = _ENTRY.unpack(head)
        if not n_key:
            if file.read() != _COUNT.pack(n):
                raise DataError(f"{path} is damaged: it does not hold the {n} entries that it says")
            return
        data = file.read(n_key + n_value)
        if len(data) < n_key + n_value or zlib.crc32(data) != crc:
            raise DataError(f"{path} is damaged after {n} entries")
        n += 1
        yield data[:n_key], data[n_key:]
