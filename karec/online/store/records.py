"""Keys and values of the state of an online store.

    key                 value, (E, 3) or (R, C) numbers of eight bytes, little-endian
    h s l f p m + user  state of the lists history, skipped, liked, follows, consumed, muted
    n o + user          shown items: the newest, and the older ones (``karec.online.shown_history``)
    e + user            filters of the items shown before: period and words of each
    c + user            counters: of the user, then of the user in each scene
    w + item            counters of the item, of events since the store began
    b + item            counters of the item in the base, when its first event was counted
    r + item            recent counters of the item (``karec.aggregates.recent``), of the same events as w
    u + item            lifecycle of the item: JSON (``karec.online.lifecycle``)
    k + creator         newest block or unblock of all items of the creator: time, number, kind
    tTYPE: + a key      the same for another item type than works; f, m and k are shared

Ids are 8 bytes, big-endian, with the sign bit flipped, so that keys sort as ids do. A value begins with 8
bytes: VERSION u32 and the CRC-32 of key and rest u32. A value of another version, length or checksum is
counted and taken as missing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import WORK

VERSION = 0x4B520001
HISTORY, SKIPPED, LIKED, FOLLOWS, CONSUMED, MUTED = b"h", b"s", b"l", b"f", b"p", b"m"
NEWEST_SHOWN, OLDER_SHOWN = b"n", b"o"
USER_COUNTERS, WORK_COUNTERS, BASE_COUNTERS, RECENT_COUNTERS = b"c", b"w", b"b", b"r"
EARLIER_SHOWN, WORK_LIFE, CREATOR_BLOCK = b"e", b"u", b"k"
USER_LISTS = {
    "history": HISTORY,
    "skipped": SKIPPED,
    "liked": LIKED,
    "follows": FOLLOWS,
    "consumed": CONSUMED,
    "muted": MUTED,
}
SHARED = (FOLLOWS, MUTED, CREATOR_BLOCK)  # all item types have the same entries
_HEAD = struct.Struct("<II")


def letter_of_type(letter: bytes, item_type: str) -> bytes:
    """Returns the first bytes of the keys of an item type for ``letter``."""
    return letter if item_type == WORK or letter in SHARED else b"t" + item_type.encode() + b":" + letter


def letter_of(key: bytes) -> bytes:
    """Returns the bytes of a key before its id."""
    return key[:-8]


def item_type_of(key: bytes) -> str:
    """Returns the item type whose state has a key, WORK for works."""
    return letter_of(key)[1:-2].decode()


def keys_of(letter: bytes, ids: NDArray[Any]) -> list[bytes]:
    """Returns the keys of ``ids`` (N,) int64."""
    flipped = (np.asarray(ids, np.int64).view(np.uint64) ^ np.uint64(1 << 63)).astype(">u8").tobytes()
    return [letter + flipped[begin : begin + 8] for begin in range(0, len(flipped), 8)]


def id_of(key: bytes) -> int:
    """Returns the id at the end of a key."""
    return int.from_bytes(key[-8:], "big") - (1 << 63)


def pack(key: bytes, payload: bytes) -> bytes:
    return _HEAD.pack(VERSION, zlib.crc32(payload, zlib.crc32(key))) + payload


def payload(value: bytes) -> bytes:
    """Returns the payload of a value that ``pack`` made."""
    return value[_HEAD.size :]


@dataclass(frozen=True, eq=False)
class UnpackedValues:
    """The payloads of N values.

    first    (N + 1,) bounds in ``rows`` (E, width)
    missing  (N,) positions of keys without a value
    corrupt  number of them that had a corrupt value
    """

    first: NDArray[Any]
    rows: NDArray[Any]
    missing: NDArray[Any]
    corrupt: int


def unpack(
    keys: Sequence[bytes], values: Sequence[bytes | None], width: int, dtype: type = np.int64
) -> UnpackedValues:
    """Returns the payloads of all values, with ``width`` numbers in a row."""
    lengths, payloads, missing, corrupt = [0], [], [], 0
    for position, (key, value) in enumerate(zip(keys, values, strict=True)):
        if value is not None and is_whole(key, value, 8 * width):
            payloads.append(memoryview(value)[_HEAD.size :])
            lengths.append((len(value) - _HEAD.size) // (8 * width))
        else:
            missing.append(position)
            corrupt += value is not None
            lengths.append(0)
    rows: NDArray[Any] = np.frombuffer(bytearray().join(payloads), np.dtype(dtype).newbyteorder("<")).astype(
        dtype, copy=False
    )
    return UnpackedValues(
        np.cumsum(lengths, dtype=np.int64), rows.reshape(-1, width), np.array(missing, np.int64), corrupt
    )


def is_whole(key: bytes, value: bytes, multiple: int) -> bool:
    """Returns True if the value has this version, the right checksum and a length that is a multiple."""
    if len(value) < _HEAD.size or (len(value) - _HEAD.size) % multiple:
        return False
    version, crc = _HEAD.unpack_from(value)
    return bool(version == VERSION and crc == zlib.crc32(memoryview(value)[_HEAD.size :], zlib.crc32(key)))


def pack_rows(keys: Sequence[bytes], first: NDArray[Any], rows: NDArray[Any]) -> dict[bytes, bytes]:
    """Returns {key: value} of the rows of each key; ``rows`` (E, width) of eight bytes each."""
    data, n_bytes = np.ascontiguousarray(rows).tobytes(), rows.shape[1] * 8
    bounds = (first * n_bytes).tolist()
    return {key: pack(key, data[bounds[i] : bounds[i + 1]]) for i, key in enumerate(keys)}
