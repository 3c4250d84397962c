"""How often a call is tried, and for how long.

A try that the service refused for now (503 with Retry-After, before it read the body), or whose connection
failed or broke, is made again. That is safe for every call: reads change nothing, and each event has an id
and a moment that stay the same, by which the service counts it once.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from msgspec import DecodeError, json

from karec.client.calls import Answer, Call
from karec.client.failures import Problem, Unreachable
from karec.client.messages import ProblemDetails

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0


class Attempts:
    """The tries of one call: at most ``retries`` after the first, and ``seconds`` for all with the waits
    between."""

    def __init__(self, call: Call[Answer], retries: int, seconds: float) -> None:
        self._again, self._left, self._wait_s = call.again, retries, FIRST_WAIT_S
        self._until = time.monotonic() + seconds

    def seconds_left(self) -> float:
        """For the next try."""
        return max(self._until - time.monotonic(), 0.001)

    def wait_after(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the next try; None: the outcome stands."""
        asked_for = 0.0
        if isinstance(outcome, httpx.Response):
            retry_after = seconds_of(outcome.headers.get("retry-after"))
            if (
                outcome.status_code != httpx.codes.SERVICE_UNAVAILABLE
                or retry_after is None
                or not self._again
            ):
                return None
            asked_for = retry_after
        elif isinstance(outcome, (httpx.ReadTimeout, httpx.WriteTimeout, httpx.UnsupportedProtocol)):
            return None
        # clients that were refused together come apart
        wait = asked_for + random.uniform(0.5, 1.0) * self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._left -= 1
        if self._left < 0 or time.monotonic() + wait >= self._until:
            return None
        return wait


def seconds_of(retry_after: str | None) -> float | None:
    """The header Retry-After: seconds, or a date. None: it is missing or neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)


def answer_of(call: Call[Answer], outcome: httpx.Response | httpx.TransportError) -> Answer:
    """The answer as its type. Problem: the service refused. Unreachable: it did not answer, or no karec
    service did."""
    if isinstance(outcome, httpx.TransportError):
        where = f"{outcome.request.method} {shown(outcome.request.url)}"
        late = isinstance(outcome, httpx.TimeoutException)
        why = "no answer in time" if late else str(outcome) or type(outcome).__name__
        raise Unreachable(f"{where}: {why}") from outcome
    if not outcome.is_success:
        raise _problem(outcome)
    try:
        return json.decode(outcome.content, type=call.answer)
    except DecodeError as error:
        raise Unreachable(
            f"{shown(outcome.request.url)} answered what no karec service does: {error}"
        ) from error


def shown(url: httpx.URL) -> str:
    """Without a user and password."""
    return str(url.copy_with(userinfo=b""))


def _problem(response: httpx.Response) -> Problem:
    try:
        told = json.decode(response.content, type=ProblemDetails)
    except DecodeError:
        told = ProblemDetails(detail=response.text[:300])  # of a proxy between
    title = told.title or response.reason_phrase
    return Problem(
        response.status_code, title, told.detail, told.field, seconds_of(response.headers.get("retry-after"))
    )
