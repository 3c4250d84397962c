"""An append as bytes of an open part: one frame, whole or not there.

    frame     "KEV1", number of records u32, bytes of texts u32, CRC-32 of what follows u32; records; texts
    record    87 bytes, little-endian: RECORD
    texts     of each record its request id, then its text, in UTF-8

Cost O(bytes). A frame that is cut short or has another checksum is the end of the part: what a killed writer
or a power cut left.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from karec.aggregates.events import COLUMNS, Events

MAGIC = b"KEV1"
_HEAD = struct.Struct("<4sIII")
_NUMBERS = [name for name, (dtype, _) in COLUMNS.items() if dtype is not object]
RECORD = np.dtype(
    [(name, np.dtype(COLUMNS[name][0]).newbyteorder("<")) for name in _NUMBERS]
    + [("request_bytes", "<u2"), ("text_bytes", "<u4")]
)


def frame(events: Events) -> bytes:
    """The events as one frame."""
    records = np.empty(len(events), RECORD)
    for name in _NUMBERS:
        records[name] = getattr(events, name)
    requests, texts = ([each.encode() for each in column] for column in (events.request_id, events.text))
    records["request_bytes"] = [len(each) for each in requests]
    records["text_bytes"] = [len(each) for each in texts]
    heap = b"".join(each for pair in zip(requests, texts, strict=True) for each in pair)
    body = records.tobytes() + heap
    return _HEAD.pack(MAGIC, len(records), len(heap), zlib.crc32(body)) + body


def whole_frames(data: bytes) -> tuple[list[Events], int]:
    """(the events of each whole frame at the start of ``data``, the bytes that these take)."""
    found, at = [], 0
    while len(data) - at >= _HEAD.size:
        magic, n, n_heap, crc = _HEAD.unpack_from(data, at)
        start, heap = at + _HEAD.size, at + _HEAD.size + n * RECORD.itemsize
        end = heap + n_heap
        if magic != MAGIC or end > len(data) or zlib.crc32(memoryview(data)[start:end]) != crc:
            break
        found.append(_events(np.frombuffer(data, RECORD, n, start), data[heap:end]))
        at = end
    return found, at


def bytes_of_first(data: bytes, n_events: int) -> int:
    """The bytes of the frames at the start of ``data`` that hold the first events, at most so many."""
    at = n = 0
    while len(data) - at >= _HEAD.size:
        _, more, n_heap, _ = _HEAD.unpack_from(data, at)
        if (n := n + more) > n_events:
            break
        at += _HEAD.size + more * RECORD.itemsize + n_heap
    return at


def _events(records: np.ndarray, heap: bytes) -> Events:
    columns = {name: records[name].astype(COLUMNS[name][0]) for name in _NUMBERS}
    requests, texts = np.full(len(records), "", object), np.full(len(records), "", object)
    if heap:
        ends = np.cumsum(
            np.stack([records["request_bytes"], records["text_bytes"]], axis=1).ravel(), dtype=np.int64
        )
        start = 0
        for at, (middle, end) in enumerate(ends.reshape(-1, 2).tolist()):
            requests[at], texts[at] = heap[start:middle].decode(), heap[middle:end].decode()
            start = end
    return Events(**columns, request_id=requests, text=texts)
