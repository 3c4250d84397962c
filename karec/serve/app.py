"""The ASGI application: which path leads where, and what stands before all of them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from karec.serve import happenings, known, problems, status, try_calls, wire
from karec.serve.docs_page import docs_page
from karec.serve.gate import Gate
from karec.serve.openapi import openapi
from karec.serve.service import Service

SAFE = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def build(service: Service) -> Gate:
    """Endpoints read ``app.state.service``: its ``served`` is one object from a request's first line to its
    last."""
    told = openapi()
    spec, page = wire.encoded(told), docs_page(told)

    async def specification(_: Request) -> Response:
        return Response(spec, media_type="application/json")

    async def docs(_: Request) -> Response:
        return HTMLResponse(page, headers=SAFE)

    async def elsewhere(_: Request) -> Response:
        raise problems.ProblemError(
            404, "write the path as /v1/recommend"
        )  # karec.serve.connections leads it past ASGI

    lanes = {"/v1/recommend": service.feeds}
    lanes |= dict.fromkeys(("/v1/events", "/v1/works", "/v1/try"), service.aside)
    app = Starlette(
        routes=[
            Route("/v1/recommend", elsewhere, methods=["POST"]),
            Route("/v1/events", happenings.events, methods=["POST"]),
            Route("/v1/works", happenings.works, methods=["POST"]),
            Route("/v1/try", try_calls.called, methods=["GET", "POST"]),
            Route("/v1/users/{id:path}", known.user),
            Route("/v1/works/{id:path}", known.work),
            Route("/v1/status", status.status),
            Route("/healthz", status.health),
            Route("/readyz", status.ready),
            Route("/version", status.version),
            Route("/metrics", status.metrics),
            Route("/openapi.json", specification),
            Route("/docs", docs),
            Route("/", docs),
        ],
        exception_handlers={
            problems.ProblemError: problems.of_problem,
            HTTPException: problems.of_route,
            Exception: problems.of_fault,
        },
    )
    app.state.service = service
    return Gate(app, lambda: service.tokens, lanes, service.metrics.response)
