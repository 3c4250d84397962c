"""The calls of a service: what each sends, and how its answer is read. No input or output here."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import UUID

from msgspec import json

from karec.client.messages import Feed, Feeds, Id, Recorded, Request, User, Work

Answer = TypeVar("Answer")
EVENTS, WORKS = "events", "works"


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """``body`` is JSON, or empty; ``answer``: the type that the answer has; ``again``: whether a refusal for
    now is tried again; ``purpose``: which token it carries, where events or works have their own.
    """

    method: str
    path: str
    answer: type[Answer]
    body: bytes = b""
    again: bool = True
    purpose: str = ""


def recommend(request: Request) -> Call[Feed]:
    _check_deadline(request)
    return Call("POST", "/v1/recommend", Feed, _encoded(request))


def recommend_many(requests: Sequence[Request]) -> Call[Feeds]:
    for request in requests:
        _check_deadline(request)
    return Call("POST", "/v1/recommend", Feeds, _encoded({"requests": requests}))


def _check_deadline(request: Request) -> None:
    """ValueError for one that is not finite: JSON would have null for it, which is no deadline."""
    if request.deadline_ms is not None and not math.isfinite(request.deadline_ms):
        raise ValueError(
            f"deadline_ms is {request.deadline_ms}, expected milliseconds, or None for no deadline"
        )


def record(rows: Iterable[Mapping[str, Any]]) -> Call[Recorded]:
    return Call("POST", "/v1/events", Recorded, _encoded({"events": list(rows)}), purpose=EVENTS)


def works(rows: Iterable[Mapping[str, Any]]) -> Call[Recorded]:
    return Call("POST", "/v1/items", Recorded, _encoded({"items": list(rows)}), purpose=WORKS)


def user(user: Id, scene: str | None) -> Call[User]:
    return Call("GET", f"/v1/users/{_path_of(user, scene)}", User)


def work(work: Id, scene: str | None) -> Call[Work]:
    return Call("GET", f"/v1/items/{_path_of(work, scene)}", Work)


def _path_of(name: Id, scene: str | None) -> str:
    return quote(str(name), safe="") + ("" if scene is None else f"?scene={quote(scene, safe='')}")


STATUS = Call("GET", "/v1/status", dict[str, Any])
VERSION = Call("GET", "/version", dict[str, Any])
READY = Call("GET", "/readyz", object, again=False)


class Naming:
    """Gives each row an id and a moment, so that it counts once however often it is sent. Ids rise: rows of
    one millisecond keep their order.
    """

    def __init__(self) -> None:
        self._source = int.from_bytes(os.urandom(8)) << 64
        self._numbers = count(time.time_ns())  # threads may share it

    def named(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows; those with an ``id`` or a ``time_ms`` of their own keep it. ValueError: one is no
        mapping."""
        for at, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise ValueError(f"row {at} is {row!r}, expected a mapping with a kind")
            given = {key: value for key, value in row.items() if value is not None}
            own = {
                "id": str(UUID(int=self._source | next(self._numbers))),
                "time_ms": time.time_ns() // 1_000_000,
            }
            yield own | given


def of_work(kind: str, work: Id, **what: Any) -> dict[str, Any]:
    return {"kind": kind, "work": work, **what}


def of_work_or_creator(kind: str, work: Id | None, creator: Id | None) -> dict[str, Any]:
    """ValueError: neither or both are told."""
    if (work is None) == (creator is None):
        raise ValueError(f"{kind} takes a work or a creator, one of them")
    return {"kind": kind, **({"creator": creator} if work is None else {"work": work})}


def as_requests(requests: Sequence[Request | Id]) -> list[Request]:
    return [each if isinstance(each, Request) else Request(user=each) for each in requests]


def _encoded(message: object) -> bytes:
    return json.encode(message, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """A number of NumPy or a UUID as JSON has it. TypeError: it is neither."""
    if callable(getattr(value, "item", None)):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of JSON")
