"""How often each route was replied to, and with which status."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTES: tuple[str, ...] = (
    "/v1/recommend",
    "/v1/try",
    "/v1/events",
    "/v1/works",
    "/v1/status",
    "/healthz",
    "/readyz",
    "/version",
)
ROUTES += ("/metrics", "/openapi.json", "/docs", "/")
BELOW = {"/v1/users/": "/v1/users/ID", "/v1/works/": "/v1/works/ID", "/page/": "/page/"}
OTHER = "other"


class Replies:
    """ASGI: calls ``replied(route, status)`` when a reply begins."""

    def __init__(self, app: ASGIApp, replied: Callable[[str, int], None]) -> None:
        self._app, self._replied = app, replied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._replied(route_of(scope["path"]), message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def route_of(path: str) -> str:
    """The route that ``path`` is of; of few names, whatever is asked for."""
    if path in ROUTES:
        return path
    return next((route for start, route in BELOW.items() if path.startswith(start)), OTHER)
