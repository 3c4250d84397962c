"""JSON bodies of requests and responses: types, reading within limits, decoding and encoding.

Ids are integers or strings, as the platform has them. Numbers that are not finite are encoded as null.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Call

from karec.pipeline.types import MAX_LISTED_IDS
from karec.serve.problems import ProblemError
from karec.where import Where

T = TypeVar("T")

Id = int | Annotated[str, Meta(max_length=256)]  # the longest text of an id map
Name = Annotated[str, Meta(max_length=64)]
TimeMs = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
UserEventName = Literal["impression", "label", "play", "follow", "unfollow", "mute", "unmute", "search"]
ItemEventName = Literal["upload", "edit", "delete", "block", "unblock", "adjust", "open", "close"]
Scalar = Annotated[str, Meta(max_length=1024)] | int | float | bool | None

BODY_TIMEOUT_S = 5.0
BODY = "body"  # the field of a problem that is not in one field
LOCATION = re.compile(r" - at `(?:\$\.?)(.*?)`$")
KEY = re.compile(r"Object (?:missing required|contains unknown) field `(.*?)`")
KEY_LOCATION = re.compile(r" - at `key` in `\$\.(.*?)`$")


class PageRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Request for one page. `deadline_ms` counts from the arrival of the request and includes the time in the
    queue. `time_ms`: Unix milliseconds; null: now, or the snapshot's time if there is no online store. A step
    of the host reads `context` as `context.NAME`. `where`: a condition that all items satisfy. `exclude_ids`:
    items that are not on the page; `only_ids`: the only ones that may be; null: any. `after`: `next` of the
    page before, for a page without its items. `events`: what the user did, rows of POST /v1/events without
    `user_id`, on top of the stored events; they are stored only if `store` is true. `session_id`: the unit of
    experiments by session. `arms`: {experiment: arm} that the caller assigned; null: the service assigns
    them."""

    user_id: Id
    scene: Name | None = None
    k: Annotated[int, Meta(ge=1)] = 10
    shown: list[Id] = []
    context: Annotated[dict[Name, Scalar], Meta(max_length=32)] = {}
    time_ms: TimeMs | None = None
    request_id: Annotated[str, Meta(max_length=256)] = ""
    deadline_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None
    explain: bool = False
    where: Where | None = None
    exclude_ids: Annotated[list[Id], Meta(max_length=MAX_LISTED_IDS)] = []
    only_ids: Annotated[list[Id], Meta(max_length=MAX_LISTED_IDS)] | None = None
    after: Annotated[str, Meta(max_length=4096)] | None = None
    events: Annotated[list[dict[str, Any]], Meta(max_length=1_000)] = []
    store: bool = False
    session_id: Annotated[str, Meta(max_length=256)] = ""
    arms: Annotated[dict[Name, Name], Meta(max_length=64)] | None = None


class BatchRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Request for several pages. The response has them in this order."""

    requests: list[PageRequest]


class RankRequest(PageRequest, frozen=True, kw_only=True):
    """Request for an order of the caller's items. The stages from `first_stage` on score them; hydrators and
    filters of earlier stages run too. `k` is at most `max_k` of the service. `scores`: the response has
    the scores of `first_stage` for all items that reached it."""

    item_ids: Annotated[list[Id], Meta(min_length=1, max_length=10_000)]
    k: Annotated[int, Meta(ge=1)] = 10_000
    first_stage: Name = "rank"
    scores: bool = False


class Why(Struct, frozen=True):
    """A reason for people: `text` with the id of the item `item_id` of the user."""

    text: str
    item_id: Id


class Item(Struct, frozen=True):
    """One item of a page. On a page of several types, `score` is the probability that the user enjoys the
    item. `reason` is present if the request has `explain`, `why` if its source has one, `team` on a page that
    two arms of an experiment filled in turns: the arm that placed the item."""

    position: int
    item_id: Id
    item_type: str
    score: float
    sources: tuple[str, ...]
    columns: dict[str, Any]
    reason: str | UnsetType = UNSET
    why: Why | UnsetType = UNSET
    team: str | UnsetType = UNSET


class PageResponse(Struct, frozen=True):
    """A page. `run_ms`: run time of the cascade; `shortfall`: why the page has fewer than k items; `arms`:
    {experiment: arm} of the experiments in which the request counts; `next`: for the field `after` of the
    next page, if the service has a `page_key`."""

    request_id: str
    user_id: Id
    scene: str
    items: list[Item]
    degraded: tuple[str, ...]
    is_cold_start: bool
    versions: dict[str, Any]
    shortfall: str | None
    run_ms: float
    arms: dict[str, str]
    trace: list[dict[str, Any]] | UnsetType = UNSET
    next: str | UnsetType = UNSET


class Scored(Struct, frozen=True):
    """The score of an item."""

    item_id: Id
    score: float


class SimilarRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Request for the items that the users of an item enjoy. `where`: a condition that they satisfy."""

    item_id: Id
    scene: Name | None = None
    k: Annotated[int, Meta(ge=1)] = 10
    where: Where | None = None


class SimilarResponse(Struct, frozen=True):
    """The items, the most similar first. `shortfall`: why there are fewer than requested, or null."""

    item_id: Id
    items: list[Scored]
    shortfall: str | None


class Dropped(Struct, frozen=True):
    """An item that a filter, `STAGE.STEP`, dropped, or that is blocked or not in the index."""

    item_id: Id
    by: str


class RankResponse(PageResponse, frozen=True, kw_only=True):
    """The order of the caller's items, the `dropped` ones, and all `scores`, the best first."""

    dropped: list[Dropped]
    scores: list[Scored] | UnsetType = UNSET


class BatchResponse(Struct, frozen=True):
    """The pages of a batch, in the order of its requests."""

    pages: list[PageResponse]


class UserEvent(Struct, frozen=True, omit_defaults=True):
    """An event of a user. docs/online-features.md lists the keys. It counts once by `event_id`, a UUID."""

    event: UserEventName
    user_id: Id
    item_id: Id | None = None
    item_type: str | None = None
    creator_id: Id | None = None
    labels: list[str] = []
    scene: str | None = None
    position: int | None = None
    play_ms: int | None = None
    request_id: str | None = None
    time_ms: int | None = None
    text: str | None = None
    event_id: str | None = None


class ItemEvent(Struct, frozen=True, omit_defaults=True):
    """A change of an item. `block` and `unblock` also take a creator or a user."""

    event: ItemEventName
    item_id: Id | None = None
    item_type: str | None = None
    creator_id: Id | None = None
    user_id: Id | None = None
    columns: dict[str, str | int | float | bool | list[float] | None] = {}
    scale: float | None = None
    offset: float | None = None
    time_ms: int | None = None
    event_id: str | None = None


class UserEvents(Struct, forbid_unknown_fields=True, frozen=True):
    """Rows of `UserEvent`. An invalid row is counted; the others are stored."""

    events: list[Any]


class ItemEvents(Struct, forbid_unknown_fields=True, frozen=True):
    """Rows of `ItemEvent`. An invalid row is counted; the others are stored."""

    items: list[Any]


class Recorded(Struct, frozen=True):
    """`events`: number of stored events; the next request reads them. `refused`: {reason: number of the
    other rows}."""

    events: int
    refused: dict[str, int]


async def read_body(call: Call, max_bytes: int) -> bytes:
    """Returns the body. Raises ProblemError if it is not JSON by its header, too long or too slow."""
    media_type = call.headers.get("content-type", "missing").partition(";")[0].strip().lower()
    if media_type != "application/json":  # a page of another site cannot send it without a preflight request
        raise ProblemError(415, f"content-type is {media_type}, expected application/json", is_last=True)
    length = call.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > max_bytes:
        raise ProblemError(413, f"the body has {length} bytes, expected at most {max_bytes}", is_last=True)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in call.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise ProblemError(413, f"the body is longer than {max_bytes} bytes", is_last=True)
    except TimeoutError:
        reason = f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds"
        raise ProblemError(408, reason, is_last=True) from None
    except ClientDisconnect:
        raise ProblemError(400, "the connection ended before the end of the body", is_last=True) from None
    return bytes(body)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises ProblemError: 400 if the body is not JSON, 422 with the field if it is not of the type."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        field, reason = _field_and_reason(str(error))
        raise ProblemError(422, reason, field) from None
    except RecursionError:
        raise ProblemError(400, "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from None


def _field_and_reason(message: str) -> tuple[str, str]:
    """Returns (field, reason) of a message of msgspec, for example ("requests[3].k", "Expected `int`")."""
    location = LOCATION.search(message) or KEY_LOCATION.search(message)
    key = KEY.match(message)
    parts = [match.group(1) for match in (location, key) if match is not None and match.group(1)]
    return ".".join(parts) or BODY, message.partition(" - at `")[0]


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_to_plain)


def encode(value: Any) -> bytes:
    """Returns JSON. NumPy scalars and arrays become numbers and lists, NaN and infinities null."""
    return _encoder.encode(value)
