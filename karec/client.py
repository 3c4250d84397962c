"""Calls a service that `karec serve` runs. `AsyncClient` has the calls of `Client` as coroutines.

A call is sent again if its response has Retry-After (the service or a proxy refused it for now), or if the
connection failed. That is safe for every call: reads change nothing, and an event counts once by its id.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from json import JSONEncoder
from typing import Any, Required, TypedDict, TypeVar, Unpack
from uuid import UUID

from karec.errors import KarecError, MissingExtra, one_line

try:
    import httpx
    from msgspec import DecodeError, Struct, json
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "httpx", "serve", "karec.client") from error

Answer = TypeVar("Answer")
Id = int | str
Row = Mapping[str, Any]
RETRIED_STATUSES = (429, 502, 503, 504)
FIRST_WAIT_S, MAX_WAIT_S = 0.05, 2.0
_encode = JSONEncoder(allow_nan=False, default=lambda value: value.item()).encode  # item: scalars of NumPy


class Request(TypedDict, total=False):
    """Fields of POST /v1/recommend. The service chooses a value for each field that is left out."""

    user_id: Required[Id]
    scene: str
    k: int
    shown: Sequence[Id]
    context: Mapping[str, float | str | bool]
    time_ms: int
    request_id: str
    deadline_ms: float
    explain: bool
    where: Mapping[str, Any]
    exclude_ids: Sequence[Id]
    only_ids: Sequence[Id] | None
    after: str | None
    events: Sequence[Mapping[str, Any]]
    store: bool
    session_id: str
    arms: Mapping[str, str] | None


class Item(Struct, frozen=True):
    position: int
    item_id: Id
    score: float
    sources: tuple[str, ...] = ()
    columns: dict[str, Any] = {}
    item_type: str = "work"
    reason: str | None = None
    why: dict[str, Any] | None = None
    team: str | None = None


class Page(Struct, frozen=True):
    """The items for one request; ``shortfall``: why they are fewer than k; ``next``: for ``after`` of the
    next page. Unknown keys are ignored."""

    user_id: Id
    scene: str
    items: tuple[Item, ...]
    request_id: str = ""
    degraded: tuple[str, ...] = ()
    is_cold_start: bool = False
    versions: dict[str, Any] = {}
    shortfall: str | None = None
    run_ms: float = 0.0
    arms: dict[str, str] = {}
    trace: tuple[dict[str, Any], ...] | None = None
    next: str | None = None


class Recorded(Struct, frozen=True):
    """``events``: number of stored events; ``refused``: number of the other rows by reason."""

    events: int
    refused: dict[str, int] = {}


class _ProblemBody(Struct, frozen=True):
    detail: str = ""
    field: str | None = None


class Problem(KarecError):
    """The service refused the call. ``field``: the wrong part of the request; ``retry_after_s``: None if a
    later attempt cannot succeed. A date in Retry-After counts as one second."""

    def __init__(self, response: httpx.Response) -> None:
        try:
            body = json.decode(response.content, type=_ProblemBody)
        except DecodeError:
            body = _ProblemBody(detail=response.text[:300])  # written by a proxy
        self.status = response.status_code
        self.detail = body.detail
        self.field = body.field
        retry_after = response.headers.get("retry-after", "") if self.status in RETRIED_STATUSES else ""
        seconds = float(retry_after) if retry_after.isdecimal() else 1.0
        self.retry_after_s = seconds if retry_after else None
        texts = (f"{self.status} {response.reason_phrase}", self.field, self.detail)
        super().__init__(one_line(": ".join(text for text in texts if text)))


class Unreachable(KarecError):
    """The connection failed, the time of the call ended, or the response is not one of karec."""

    retry_after_s = 0.0

    def __init__(self, request: httpx.Request, reason: str) -> None:
        super().__init__(f"{request.method} {request.url.copy_with(userinfo=b'')}: {reason}")


class _Attempts:
    """Attempts to send one request: at most `retries` after the first, and none after `timeout_s`."""

    def __init__(self, timeout_s: float, retries: int) -> None:
        self._end = time.monotonic() + timeout_s
        self._retries = retries
        self._wait_s = FIRST_WAIT_S

    def timeout(self) -> dict[str, Any]:
        return httpx.Timeout(max(self._end - time.monotonic(), 0.001)).as_dict()

    def wait_after(self, error: httpx.HTTPStatusError | httpx.RequestError) -> float:
        """Returns the seconds until the next attempt. Raises Problem or Unreachable if there is none."""
        failure: Problem | Unreachable
        if isinstance(error, httpx.HTTPStatusError):
            failure = Problem(error.response)
        else:
            failure = Unreachable(error.request, f"{type(error).__name__}: {error}")
        wait_s = (failure.retry_after_s or 0.0) + random.uniform(0.5, 1.0) * self._wait_s  # with jitter
        if failure.retry_after_s is None or self._retries == 0 or time.monotonic() + wait_s >= self._end:
            raise failure from None  # the message of httpx has the password of the URL
        self._retries -= 1
        self._wait_s = min(2 * self._wait_s, MAX_WAIT_S)
        return wait_s


def _decode(response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        return json.decode(response.content, type=answer)
    except DecodeError as error:
        raise Unreachable(response.request, f"not a response of karec: {error}") from error


def _encode_rows(name: str, rows: Iterable[Row]) -> str:
    """Returns the body. A row gets an `event_id`, by which it counts once, and a time. Ids rise with time."""
    complete = []
    for row in rows:
        now_ns = time.time_ns()
        event_id = str(UUID(int=now_ns << 64 | random.getrandbits(64)))
        complete.append({"event_id": event_id, "time_ms": now_ns // 1_000_000, **row})
    return _encode({name: complete})


class _Service:
    """Settings of both clients. `url` and `token` come from KAREC_URL and KAREC_TOKEN if they are empty.
    `options`: arguments of httpx.Client. All calls raise Problem or Unreachable, also `get("/v1/status")`."""

    def __init__(
        self, url: str = "", *, token: str = "", timeout_s: float = 10.0, retries: int = 3, **options: Any
    ) -> None:
        url = url or os.environ.get("KAREC_URL", "")
        if not re.match(r"https?://[^/?#]", url):
            raise ValueError(f"url is {url!r}, expected http://HOST:PORT. Pass it, or set KAREC_URL.")
        token = (token or os.environ.get("KAREC_TOKEN", "")).strip()
        if not re.fullmatch("[ -~]*", token):
            raise ValueError(
                "token has characters other than printable ASCII. Check KAREC_TOKEN for line ends and quotes."
            )  # without its value
        headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {token}"} if token else {}
        )
        super().__init__(base_url=url, headers=headers, **options)  # type: ignore[call-arg]
        self._timeout_s = timeout_s
        self._retries = retries


class Client(_Service, httpx.Client):
    """Client whose calls block. Threads may share one client."""

    def recommend(self, **request: Unpack[Request]) -> Page:
        return _decode(self.post("/v1/recommend", content=_encode(request)), Page)

    def record(self, events: Iterable[Row]) -> Recorded:
        """Records events of users. A row gets an id and `time_ms` unless it has them."""
        return _decode(self.post("/v1/events", content=_encode_rows("events", events)), Recorded)

    def change_items(self, events: Iterable[Row]) -> Recorded:
        """Records item events: upload, edit, delete, block, unblock, adjust, open, close."""
        return _decode(self.post("/v1/items", content=_encode_rows("items", events)), Recorded)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        attempts = _Attempts(self._timeout_s, self._retries)
        while True:
            request.extensions["timeout"] = attempts.timeout()
            try:
                return super().send(request, **options).raise_for_status()
            except (httpx.HTTPStatusError, httpx.RequestError) as error:
                time.sleep(attempts.wait_after(error))


class AsyncClient(_Service, httpx.AsyncClient):
    """The calls of `Client` as coroutines, for one event loop."""

    async def recommend(self, **request: Unpack[Request]) -> Page:
        return _decode(await self.post("/v1/recommend", content=_encode(request)), Page)

    async def record(self, events: Iterable[Row]) -> Recorded:
        return _decode(await self.post("/v1/events", content=_encode_rows("events", events)), Recorded)

    async def change_items(self, events: Iterable[Row]) -> Recorded:
        return _decode(await self.post("/v1/items", content=_encode_rows("items", events)), Recorded)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        attempts = _Attempts(self._timeout_s, self._retries)
        while True:
            request.extensions["timeout"] = attempts.timeout()
            try:
                return (await super().send(request, **options)).raise_for_status()
            except (httpx.HTTPStatusError, httpx.RequestError) as error:
                await asyncio.sleep(attempts.wait_after(error))
