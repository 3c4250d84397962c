"""GET / and /page/NAME: the page, which is in the package as it is; where it is off, / is what /docs is."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from karec.serve.problems import ProblemError
from karec.serve.service import Service

KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # asked for again each time, and not sent again where it is the same
}
FIRST = "index.html"

Endpoint = Callable[[Request], Awaitable[Response]]


def first(otherwise: Endpoint) -> Endpoint:
    async def page(call: Request) -> Response:
        service: Service = call.app.state.service
        return _file(call, FIRST) if service.settings.shows_page else await otherwise(call)

    return page


async def file(call: Request) -> Response:
    service: Service = call.app.state.service
    name = call.path_params["name"]
    if not service.settings.shows_page or name not in _files():
        raise ProblemError(404, "Not Found")
    return _file(call, name)


def _file(call: Request, name: str) -> Response:
    content, tag = _files()[name]
    headers = {**HEADERS, "etag": tag}
    if call.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=KINDS[name.rpartition(".")[2]])


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """{name: (content, its tag)}."""
    found = {}
    for path in files("karec.serve").joinpath("page").iterdir():
        if path.name.rpartition(".")[2] in KINDS:
            content = path.read_bytes()
            found[path.name] = content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return found
