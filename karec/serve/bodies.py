"""The body of a request: read within bounds of size and time, and decoded into a type of
``karec.serve.wire``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from starlette.types import Receive, Scope

from karec.serve.problems import ProblemError

T = TypeVar("T")

WHERE = re.compile(r" - at `(?:\$\.?)(.*?)`$")
KEY = re.compile(r"Object (?:missing required|contains unknown) field `(.*?)`")
OF_KEY = re.compile(r" - at `key` in `\$\.(.*?)`$")
WHOLE = "body"
JSON = b"application/json"
SMALL = 1 << 16  # bytes that are parsed a second time to name a field


def check_head(headers: Iterable[tuple[bytes, bytes]], most: int) -> None:
    """ProblemError: the body is longer than ``most`` bytes, or no JSON, by its header."""
    kind, length = b"", b"0"
    for name, value in headers:  # of one that stands twice the first counts
        if name == b"content-type":
            kind = kind or value
        elif name == b"content-length":
            length = value
    if (
        kind != JSON
        and (told := kind.decode("latin-1").partition(";")[0].strip().lower()) != "application/json"
    ):
        # a page of another site cannot send it without asking first
        raise ProblemError(
            415, f"the body must be application/json, content-type is {told or 'missing'}", close=True
        )
    if not length.isdigit() or int(length) > most:
        told = length.decode("latin-1")
        raise ProblemError(413, f"the body has {told} bytes, at most {most} are taken", close=True)


async def read(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body. ProblemError: longer than ``most`` bytes, or no JSON by its header."""
    check_head(scope["headers"], most)
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":  # or it did not come in time: karec.serve.connections
            raise ProblemError(400, "the connection ended within the body", close=True)
        found += message["body"]
        if len(found) > most:
            raise ProblemError(413, f"the body is longer than {most} bytes", close=True)
        if not message["more_body"]:
            return bytes(found)


def decoded(body: bytes | bytearray, decoder: msgspec.json.Decoder[T]) -> T:
    """ProblemError 400: no JSON; 422: other JSON than the type, with the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        field, what = _field_of(str(error))
        raise ProblemError(422, what, field) from None
    except RecursionError:
        raise ProblemError(400, "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where, why = _not_finite(body), "JSON has no NaN and no Infinity; leave the field out or send null"
        if where is not None:
            raise ProblemError(422, why, where) from None
        raise ProblemError(400, f"the body is no JSON: {error}") from None


def _field_of(message: str) -> tuple[str, str]:
    """(requests[3].k, what is wrong), of what msgspec says; ``body`` where it is not a field of it."""
    found, key = WHERE.search(message) or OF_KEY.search(message), KEY.match(message)
    parts = [found.group(1) if found else "", key.group(1) if key else ""]
    return ".".join(part for part in parts if part) or WHOLE, message.partition(" - at `")[0]


def _not_finite(body: bytes | bytearray) -> str | None:
    """Where a small body has NaN or Infinity, which Python's parser takes; None: nowhere, or it is no
    JSON."""
    if len(body) > SMALL or not (b"NaN" in body or b"Infinity" in body):
        return None
    try:
        return _search(json.loads(body), "")
    except (ValueError, RecursionError):
        return None


def _search(value: Any, at: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return at
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(f"{at}.{key}" if at else key, each) for key, each in value.items()]
    elif isinstance(value, list):
        inner = [(f"{at}[{i}]", each) for i, each in enumerate(value)]
    return next((found for key, each in inner if (found := _search(each, key)) is not None), None)
