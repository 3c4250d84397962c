"""Why a request is not answered, as RFC 9457's problem details."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from karec.serve import wire

_log = logging.getLogger("karec.serve")


class ProblemError(Exception):
    """``field`` names what is wrong in the body. ``retry_after`` seconds; ``close``: the connection ends with
    this."""

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        retry_after: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field
        self.retry_after, self.close = retry_after, close

    def response(self) -> Response:
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.close:
            headers["connection"] = "close"
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = 'Bearer realm="karec"'
        title = HTTPStatus(self.status).phrase
        body = wire.encoded(wire.Problem(title, self.status, self.detail, self.field))
        return Response(body, self.status, headers, "application/problem+json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.response()(scope, receive, send)


def of_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


def of_route(request: Request, error: Exception) -> Response:
    """What the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        found = ProblemError(error.status_code, f"{request.url.path} takes {allowed}").response()
        found.headers["allow"] = allowed
        return found
    return ProblemError(
        error.status_code, f"no {request.url.path} here; /docs lists what there is"
    ).response()


def of_fault(_: Request, error: Exception) -> Response:
    return fault(error).response()


def fault(error: BaseException) -> ProblemError:
    """A fault of the service, which the log tells and the answer does not."""
    _log.error("a request failed", exc_info=error)
    return ProblemError(500, "a fault of the service; its log says more")
