"""Encodes an event as bytes: numbers of fixed size, then request id, item type and text in UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import COLUMNS, Events

_NUMBERS = [name for name, (dtype, _) in COLUMNS.items() if dtype is not object]
_FIXED = np.dtype(
    [(name, np.dtype(COLUMNS[name][0]).newbyteorder("<")) for name in _NUMBERS]
    + [("is_counted", "u1"), ("request_bytes", "<u2"), ("type_bytes", "<u2")]
)


def to_bytes(events: Events, is_counted: NDArray[Any]) -> list[bytes]:
    fixed = np.empty(len(events), _FIXED)
    for name in _NUMBERS:
        fixed[name] = getattr(events, name)
    requests = [request_id.encode() for request_id in events.request_id]
    types = [item_type.encode() for item_type in events.item_type]
    fixed["is_counted"] = is_counted
    fixed["request_bytes"] = [len(request) for request in requests]
    fixed["type_bytes"] = [len(item_type) for item_type in types]
    return [
        numbers.tobytes() + request + item_type + text.encode()
        for numbers, request, item_type, text in zip(fixed, requests, types, events.text, strict=True)
    ]


def from_bytes(data: Sequence[bytes]) -> tuple[Events, NDArray[Any]]:
    """Returns (events, is_counted (M,) bool). ``data`` is the result of ``to_bytes``."""
    size = _FIXED.itemsize
    fixed = np.frombuffer(bytearray().join(event[:size] for event in data), _FIXED)
    texts = {name: np.full(len(data), "", object) for name in ("request_id", "item_type", "text")}
    request_ends = size + fixed["request_bytes"].astype(np.int64)
    type_ends = request_ends + fixed["type_bytes"]
    for row, event in enumerate(data):
        bounds = (size, request_ends[row], type_ends[row], len(event))
        for column, begin, end in zip(texts.values(), bounds, bounds[1:], strict=False):
            column[row] = event[begin:end].decode()
    columns = {name: fixed[name].astype(COLUMNS[name][0]) for name in _NUMBERS}
    return Events(**columns, **texts), fixed["is_counted"].astype(bool)


def event_ids(events: Events) -> list[bytes]:
    """Returns the 16 bytes of the id of every event."""
    ids = np.stack([events.source, events.number], axis=1).astype(">u8").tobytes()
    return [ids[begin : begin + 16] for begin in range(0, len(ids), 16)]
