"""Refusals as problem details of RFC 9457."""

from __future__ import annotations

import logging
import math
import random
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.errors import one_line

RETRY_JITTER_S = 2.0  # spreads clients that were refused at the same moment

_log = logging.getLogger("karec.serve")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Problem details of RFC 9457. `field` names the wrong part of the body, for example requests[3].k."""

    title: str
    status: int
    detail: str = ""
    field: str | None = None
    type: str = "about:blank"


class ProblemError(Exception):
    """A refusal. `field`: the wrong part of the body. `retry_after_s`: when the call may succeed.
    `is_last`: the connection ends. `reason`: label of the metric that counts refusals; None: not counted."""

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        *,
        retry_after_s: float | None = None,
        is_last: bool = False,
        reason: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s
        self.is_last = is_last
        self.reason = reason

    def response(self) -> Response:
        headers = {}
        if self.retry_after_s is not None:
            seconds = math.ceil(self.retry_after_s + random.uniform(0.0, RETRY_JITTER_S))
            headers["retry-after"] = str(max(seconds, 1))
        if self.is_last:
            headers["connection"] = "close"
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = 'Bearer realm="karec"'
        problem = Problem(HTTPStatus(self.status).phrase, self.status, self.detail, self.field)
        return Response(msgspec.json.encode(problem), self.status, headers, "application/problem+json")


def unavailable(detail: str, error: Exception) -> ProblemError:
    """Returns a 503 without the text of `error`, which may name files of the server: only the log has it."""
    _log.warning("%s", one_line(f"{detail}: {error}"))
    return ProblemError(503, f"{detail}; the log of the service has the reason", retry_after_s=0)


def on_problem(call: Call, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    if error.reason is not None:
        call.app.state.service.metrics.count_refusal(error.reason)
    return error.response()


def on_http_exception(call: Call, error: Exception) -> Response:
    """Answers what the router refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{call.url.path} does not exist; /openapi.json lists the paths"
        return ProblemError(error.status_code, detail).response()
    allowed = (error.headers or {}).get("Allow", "")
    response = ProblemError(error.status_code, f"{call.url.path} takes {allowed}").response()
    response.headers["allow"] = allowed
    return response


def on_fault(_: Call, error: Exception) -> Response:
    """Answers an error of the service. Its log has the error, the answer has not."""
    _log.error("a request failed", exc_info=error)
    return ProblemError(500, "an error of the service; its log has the reason").response()
