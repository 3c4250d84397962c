"""The ASGI application of one worker: routes, lifespan, and the checks before a route."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as Call
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE

from karec.errors import KarecError, Unavailable, one_line
from karec.serve import events, items, problems, recommend, similar, status, try_page
from karec.serve.openapi import openapi
from karec.serve.problems import ProblemError
from karec.serve.service import ServeOptions, Service

MAX_HEAD_BYTES = 1 << 16
# Without this delay, clients that send again at once would take time from running calls.
REFUSAL_DELAY_S = 0.05
SWITCH_INTERVAL_S = 0.0005  # refusals are written between two steps of a request
RESTART_DELAY_S = 2.0  # after a failed start
PR_SET_PDEATHSIG = 1
ROUTES = frozenset(("/v1/recommend", "/v1/rank", "/v1/similar", "/v1/events", "/v1/items", "/v1/try"))
ROUTES |= {"/v1/status", "/healthz", "/readyz", "/version", "/metrics", "/openapi.json", "/"}
ROUTE_PREFIXES = {"/v1/users/": "/v1/users/ID", "/v1/items/": "/v1/items/ID"}

_log = logging.getLogger("karec.serve")


def create_app() -> ASGIApp:
    """Returns the application of a worker. The parent has set the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    options = ServeOptions.from_environment()
    try:
        service = Service(options)
    except (KarecError, OSError) as error:
        _log.error("%s", one_line(f"{options.config} cannot be served: {error}"))
        time.sleep(RESTART_DELAY_S)
        sys.exit(STARTUP_FAILURE)
    return Gate(build_app(service), service)


def build_app(service: Service) -> Starlette:
    specification = openapi()

    async def get_openapi(_: Call) -> Response:
        return Response(specification, media_type="application/json")

    app = Starlette(
        routes=[
            Route("/v1/recommend", recommend.recommend, methods=["POST"]),
            Route("/v1/rank", recommend.rank, methods=["POST"]),
            Route("/v1/similar", similar.similar, methods=["POST"]),
            Route("/v1/events", events.post_events, methods=["POST"]),
            Route("/v1/items", events.post_items, methods=["POST"]),
            Route("/v1/users/{id:path}", items.get_user),
            Route("/v1/items/{id:path}", items.get_item),
            Route("/v1/status", status.status),
            Route("/healthz", status.health),
            Route("/readyz", status.ready),
            Route("/version", status.version),
            Route("/metrics", status.metrics),
            Route("/openapi.json", get_openapi),
            *try_page.routes(),
        ],
        exception_handlers={
            problems.ProblemError: problems.on_problem,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_fault,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Opens the bundle before the worker listens. If the online store cannot be reached, the worker listens,
    answers 503 and retries. Any other failure ends the worker."""
    service: Service = app.state.service
    loop = asyncio.get_running_loop()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with suppress(AttributeError):  # Linux: a worker ends with its parent
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    opening = None
    try:
        await asyncio.to_thread(service.open)
    except (Unavailable, OSError):
        opening = loop.run_in_executor(None, service.open_with_retries)
    except Exception as error:  # a step of the host may raise anything
        _log.error("%s", one_line(f"{service.path} cannot be served: {error}"))
        await asyncio.sleep(RESTART_DELAY_S)
        raise
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, service.reload_or_warn))
    yield
    await asyncio.to_thread(service.close)
    if opening is not None:
        await opening


class Gate:
    """Checks a request before its body is read: protocol version, size of the head, token, and admission.

    It also counts responses and their times. `app` answers the other requests.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._queues = {
            "/v1/recommend": service.recommend_queue,
            "/v1/rank": service.recommend_queue,
            "/v1/similar": service.recommend_queue,
            "/v1/events": service.event_queue,
            "/v1/items": service.event_queue,
            "/v1/try": service.lookup_queue,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        route = route_of(scope["path"])
        status = 500
        metrics = self._service.metrics

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.change_in_flight(route, +1)
        try:
            problem = self._problem(scope)
            if problem is None:
                with suppress(Exception):  # Starlette raises what it has logged and answered
                    await self._app(scope, receive, send_and_note_status)
                return
            if problem.reason is not None:
                metrics.count_refusal(problem.reason)
                await asyncio.sleep(REFUSAL_DELAY_S)
            await problem.response()(scope, receive, send_and_note_status)
        finally:
            metrics.change_in_flight(route, -1)
            metrics.add_response(route, status, time.perf_counter() - start)

    def _problem(self, scope: Scope) -> ProblemError | None:
        if scope["http_version"] not in ("1.0", "1.1"):
            return ProblemError(505, f"HTTP/{scope['http_version']} is not supported", is_last=True)
        n_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        n_bytes += sum(len(name) + len(value) for name, value in scope["headers"])
        if n_bytes > MAX_HEAD_BYTES:
            return ProblemError(
                431, f"the head has {n_bytes} bytes, expected at most {MAX_HEAD_BYTES}", is_last=True
            )
        refusal = self._service.tokens.refusal(scope)
        queue = self._queues.get(scope["path"])
        if refusal is not None or queue is None or scope["method"] != "POST":
            return refusal
        try:
            queue.check()
        except ProblemError as error:
            return error
        return None


def route_of(path: str) -> str:
    """Returns the declared route of `path`, a label with few values."""
    if path in ROUTES:
        return path
    return next((route for prefix, route in ROUTE_PREFIXES.items() if path.startswith(prefix)), "other")
