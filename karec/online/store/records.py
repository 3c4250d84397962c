"""Keys and values of a store.

    key                               value, (E, 3) or (R, C) of eight bytes each, little-endian
    h s l f + user                    the state of the lists history, skipped, liked, follows
    n o + user                        of what was shown: the newest, and the older ones (older_shown.py)
    e + user                          filters of what was shown before: of each, its period and its words
    c + user                          counters: of the user, then of the user in each scene
    w + work                          counters of the work, of events since the store began
    b + work                          counters of the work in the base, when its first event was counted
    r + work                          counters of the work that fade, by day (folds/recent.py)
    u + work                          what became of the work: JSON (folds/lives.py)
    k + creator                       newest block or unblock of all works of the creator: time, number, kind
    d + hour u32 + user               time, number, source of the events of that hour that were counted
    meta cursor horizon passed        the folds' settings; the log's cursor; the newest logged_ms, first hour
                                      of d; the newest moment of an event that a base had already, i64

Ids are 8 bytes, big-endian, with the sign turned, so that keys sort as ids do. Before each value but those of
the last key stand 8 bytes: VERSION u32 and the CRC-32 of key and value u32. A value of another version,
length or checksum is taken as missing, and counted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 0x4B520001
LOWEST, HIGHEST = b"", b"\xff" * 16  # bounds of all keys
META, HORIZON, PASSED_OVER = b"meta", b"horizon", b"passed"
HISTORY, SKIPPED, LIKED, FOLLOWS, NEWEST_SHOWN, OLDER_SHOWN = b"h", b"s", b"l", b"f", b"n", b"o"
USER_COUNTERS, WORK_COUNTERS, WORK_RECENT, SEEN = b"c", b"w", b"r", b"d"
EARLIER_SHOWN, WORK_LIFE, CREATOR_BLOCK = b"e", b"u", b"k"
BASE_COUNTERS = b"b"
USER_LISTS = {"history": HISTORY, "skipped": SKIPPED, "liked": LIKED, "follows": FOLLOWS}
_HEAD = struct.Struct("<II")


def keys_of(letter: bytes, ids: NDArray[Any]) -> list[bytes]:
    """The keys of ``ids (N,) int64``."""
    turned = (np.asarray(ids, np.int64).view(np.uint64) ^ np.uint64(1 << 63)).astype(">u8").tobytes()
    return [letter + turned[at : at + 8] for at in range(0, len(turned), 8)]


def id_of(key: bytes) -> int:
    """The id at the end of a key."""
    return int.from_bytes(key[-8:], "big") - (1 << 63)


def of_moment(time_ms: int) -> bytes:
    return struct.pack("<q", time_ms)


def moment_of(value: bytes | None) -> int:
    """What ``of_moment`` was given; −2^63 where there is none."""
    moment: int = struct.unpack("<q", value)[0] if value is not None and len(value) == 8 else -(1 << 63)
    return moment


def seen_keys(hours: NDArray[Any], users: NDArray[Any]) -> list[bytes]:
    """The keys of ``hours (N,)`` since 1970 and ``users (N,)``."""
    turned = hours.astype(">u4").tobytes()
    names = keys_of(b"", users)
    return [SEEN + turned[4 * at : 4 * at + 4] + name for at, name in enumerate(names)]


def seen_from(hour: int) -> bytes:
    """The lowest key of an hour."""
    return SEEN + struct.pack(">I", max(hour, 0))


def pack(key: bytes, payload: bytes) -> bytes:
    return _HEAD.pack(VERSION, zlib.crc32(payload, zlib.crc32(key))) + payload


def payload(value: bytes) -> bytes:
    """What ``pack`` was given."""
    return value[_HEAD.size :]


@dataclass(frozen=True, eq=False)
class Unpacked:
    """N values: ``first (N + 1,)`` bounds in ``rows (E, width)``; ``missing (N,)`` places without one;
    ``corrupt`` of these had one.
    """

    first: NDArray[Any]
    rows: NDArray[Any]
    missing: NDArray[Any]
    corrupt: int


def unpack(
    keys: Sequence[bytes], values: Sequence[bytes | None], width: int, dtype: type = np.int64
) -> Unpacked:
    """The payloads of all values, with ``width`` numbers a row."""
    lengths, payloads, missing, corrupt = [0], [], [], 0
    for at, (key, value) in enumerate(zip(keys, values, strict=True)):
        if value is not None and is_whole(key, value, 8 * width):
            payloads.append(memoryview(value)[_HEAD.size :])
            lengths.append((len(value) - _HEAD.size) // (8 * width))
        else:
            missing.append(at)
            corrupt += value is not None
            lengths.append(0)
    rows: NDArray[Any] = np.frombuffer(bytearray().join(payloads), np.dtype(dtype).newbyteorder("<")).astype(
        dtype, copy=False
    )
    return Unpacked(
        np.cumsum(lengths, dtype=np.int64), rows.reshape(-1, width), np.array(missing, np.int64), corrupt
    )


def is_whole(key: bytes, value: bytes, multiple: int) -> bool:
    """Whether a value has this version, a right checksum and a length that is a multiple."""
    if len(value) < _HEAD.size or (len(value) - _HEAD.size) % multiple:
        return False
    version, crc = _HEAD.unpack_from(value)
    return bool(version == VERSION and crc == zlib.crc32(memoryview(value)[_HEAD.size :], zlib.crc32(key)))


def packed(keys: Sequence[bytes], first: NDArray[Any], rows: NDArray[Any]) -> dict[bytes, bytes]:
    """{key: value} of the rows of each key; ``rows (E, width)`` of eight bytes each."""
    data, n_bytes = np.ascontiguousarray(rows).tobytes(), rows.shape[1] * 8
    bounds = (first * n_bytes).tolist()
    return {key: pack(key, data[bounds[at] : bounds[at + 1]]) for at, key in enumerate(keys)}
