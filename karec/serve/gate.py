"""What stands before every endpoint: who may not call, and what would wait too long, is answered here.

Nothing of a body is read before. POST /v1/recommend is no ASGI (``karec.serve.straight``), and asks
``admit``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from karec.serve.admission import Lane
from karec.serve.auth import Tokens
from karec.serve.problems import ProblemError
from karec.serve.straight import STRAIGHT

ROUTES = frozenset((STRAIGHT, "/v1/try", "/v1/events", "/v1/works", "/v1/status", "/healthz", "/readyz"))
ROUTES |= {"/version", "/metrics", "/openapi.json", "/docs", "/"}
BELOW = {"/v1/users/": "/v1/users/ID", "/v1/works/": "/v1/works/ID", "/page/": "/page/"}
OTHER = "other"


class Gate:
    """ASGI. ``lanes``: where POSTs to a path run and wait. ``response(route, status, seconds)`` is called
    when a response begins."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Callable[[], Tokens],
        lanes: Mapping[str, Lane],
        response: Callable[[str, int, float], None],
    ) -> None:
        self._app, self._tokens = app, tokens
        self._lanes, self._response = lanes, response

    def admit(self, scope: Scope) -> None:
        """ProblemError: why it is not let in. Whether a feed has a deadline is not known yet."""
        path = scope["path"]
        refusal = self._tokens().refusal(scope)
        if refusal is not None:
            raise refusal
        if scope["method"] == "POST" and (lane := self._lanes.get(path)) is not None:
            lane.check(unread=path == STRAIGHT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, begin_s = False, time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                seconds = time.perf_counter() - begin_s
                self._response(route_of(scope["path"]), message["status"], seconds)
            await send(message)

        try:
            self.admit(scope)
        except ProblemError as problem:
            await problem(scope, receive, counted)
            return
        with suppress(Exception):  # it has logged and answered what it raises
            await self._app(scope, receive, counted)


def route_of(path: str) -> str:
    """The route that ``path`` is of; of few names, whatever is asked for."""
    if path in ROUTES:
        return path
    return next((route for start, route in BELOW.items() if path.startswith(start)), OTHER)
