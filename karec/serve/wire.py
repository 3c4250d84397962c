"""What goes over the wire: the JSON of each endpoint as msgspec types, from which /openapi.json is made as
well.

Ids are integers or texts, as the platform has them. Numbers that are not finite come out as null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

ID = int | str
Name = Annotated[str, Meta(max_length=64)]
Moment = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
Scalar = Annotated[str, Meta(max_length=1024)] | int | float | bool | None

USER_KINDS = ("exposure", "label", "play", "follow", "unfollow", "search")
WORK_KINDS = ("upload", "edit", "delete", "block", "unblock", "adjust")


class Asked(Struct, forbid_unknown_fields=True, frozen=True):
    """One request for a feed. ``time_ms``: Unix milliseconds; null: now. ``deadline_ms``: from its arrival
    on, the wait for a thread included. ``context``: a step of one's own reads it, as the feature
    ``context.NAME``.
    """

    user: ID
    scene: Name | None = None
    k: Annotated[int, Meta(ge=1)] = 10
    shown: list[ID] = []
    context: Annotated[dict[Name, Scalar], Meta(max_length=32)] = {}
    time_ms: Moment | None = None
    request_id: Annotated[str, Meta(max_length=256)] = ""
    deadline_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None
    explain: bool = False


class Batch(Struct, forbid_unknown_fields=True, frozen=True):
    """Requests that are answered side by side, in their order."""

    requests: list[Asked]


class Trial(Struct, forbid_unknown_fields=True, frozen=True):
    """One request with other settings of the scene's steps, to see what they do; no observer sees the answer.
    ``diversity``: of the last stage that has any; ``without``: steps that are left out, as ``rerank.dpp``.
    """

    user: ID
    scene: Name | None = None
    k: Annotated[int, Meta(ge=1)] = 10
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    without: Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=64)] = []
    time_ms: Moment | None = None


class Found(Struct, frozen=True):
    """One work of a feed. ``why`` is there when the request says ``explain``."""

    position: int
    id: ID
    score: float
    recalled_by: tuple[str, ...]
    columns: dict[str, Any]
    why: str | msgspec.UnsetType = msgspec.UNSET


class Answer(Struct, frozen=True):
    """A feed and what it was made with. ``ms``: what the cascade took; ``short``: why there are fewer works
    than k."""

    request_id: str
    user: ID
    scene: str
    items: list[Found]
    degraded: tuple[str, ...]
    cold_start: bool
    versions: dict[str, Any]
    short: str | None
    ms: float
    trace: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class Tried(Struct, frozen=True):
    """``works``: what is known of each of the feed's items: creator_id, song_id, type, tag, age_hours."""

    feed: Answer
    works: list[dict[str, Any]]


class Answers(Struct, frozen=True):
    answers: list[Answer]


class Event(Struct, frozen=True, omit_defaults=True):
    """What a user did. What each kind needs: docs/howto-live.md. ``id``: a UUID, with which it counts
    once."""

    kind: Literal["exposure", "label", "play", "follow", "unfollow", "search"]
    user: ID
    work: ID | None = None
    creator: ID | None = None
    labels: list[str] = []
    scene: str | None = None
    position: int | None = None
    play_ms: int | None = None
    request_id: str | None = None
    time_ms: int | None = None
    text: str | None = None
    id: str | None = None


class Work(Struct, frozen=True, omit_defaults=True):
    """What became of a work; ``block`` and ``unblock`` take a creator too."""

    kind: Literal["upload", "edit", "delete", "block", "unblock", "adjust"]
    work: ID | None = None
    creator: ID | None = None
    columns: dict[str, str | int | float | bool | None] = {}
    scale: float | None = None
    offset: float | None = None
    time_ms: int | None = None
    id: str | None = None


class Events(Struct, forbid_unknown_fields=True, frozen=True):
    events: list[Any]


class Works(Struct, forbid_unknown_fields=True, frozen=True):
    works: list[Any]


class Recorded(Struct, frozen=True):
    """``events`` are in the log; ``refused`` {why: how many} are not. ``waiting``: why the state store has
    not taken them yet; null: the next request knows them.
    """

    events: int
    refused: dict[str, int]
    waiting: str | None


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457. ``field`` names what is wrong in the body: requests[3].k."""

    title: str
    status: int
    detail: str = ""
    field: str | None = None
    type: str = "about:blank"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encoded(value: Any) -> bytes:
    """JSON. NaN and infinities are null; NumPy's scalars and arrays are plain numbers and lists."""
    return _encoder.encode(value)
