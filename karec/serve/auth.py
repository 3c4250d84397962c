"""Who may call: bearer tokens from files or the environment; without one, this machine alone.

open      /healthz, /readyz, /version, /docs, /openapi.json, the page's files: they say nothing of users
events    POST /v1/events: ``events_token`` where there is one, else ``token``
works     POST /v1/works: ``works_token`` where there is one, else ``token``
the rest  ``token``

Without a token the Host header must be a name of this machine: a page of another site, whose name was made to
lead here, sends its own. Tokens are kept as SHA-256 and compared in constant time; nothing writes them
anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Scope

from karec.config.serve_settings import TOKENS, ServeSettings
from karec.errors import ConfigError
from karec.serve.problems import ProblemError

LEAST = 16  # letters of a token
OPEN = ("/healthz", "/readyz", "/version", "/docs", "/openapi.json", "/")
OPEN_BELOW = "/page/"
OWN = {"/v1/events": "events_token", "/v1/works": "works_token"}
# and nothing before or behind it
LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d*)?", re.ASCII)


@dataclass(frozen=True, repr=False)
class Tokens:
    """SHA-256 of the tokens of each kind; none: no token is asked for. ``any_host``: Host is not looked
    at."""

    of: dict[str, tuple[bytes, ...]]
    any_host: bool = False

    @classmethod
    def read(cls, settings: ServeSettings, folder: Path, insecure: bool = False) -> Tokens:
        """ConfigError: a source that is absent or holds no token, or a short one; or none where one is
        needed."""
        if settings.token is None and not settings.on_loopback and not insecure:
            raise ConfigError(
                f"host = {settings.host!r} is reached from other machines: set [serve] token = "
                '"file:PATH" or "env:NAME", or tell karec serve --insecure'
            )
        found = {name: _read(name, getattr(settings, name), folder) for name in TOKENS}
        return cls({name: each for name, each in found.items() if each}, insecure)

    def refusal(self, scope: Scope) -> ProblemError | None:
        """Why the request may not be made; None: it may."""
        path = scope["path"]
        headers = dict(scope["headers"])
        if not self.of:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            if self.any_host or LOCAL.fullmatch(host):
                return None
            return ProblemError(
                403, "without a token the service is called by a name of this machine: localhost"
            )
        if path in OPEN or path.startswith(OPEN_BELOW):
            return None
        name = OWN.get(path, "token")
        wanted = self.of.get(name, self.of["token"])
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return ProblemError(401, "send the header Authorization: Bearer TOKEN")
        digest = hashlib.sha256(given.strip()).digest()
        same = [hmac.compare_digest(digest, each) for each in wanted]  # all of them, each time
        if any(same):
            return None
        return ProblemError(401, "the token is not one of this call's")


def _read(name: str, source: str | None, folder: Path) -> tuple[bytes, ...]:
    if source is None:
        return ()
    kind, _, where = source.partition(":")
    if kind == "env":
        text = os.environ.get(where, "")
        if not text:
            raise ConfigError(f"serve: {name}: the environment has no {where}")
    else:
        try:
            text = (folder / where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"serve: {name}: {folder / where} cannot be read: {error}") from None
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if not tokens or any(len(token) < LEAST or not token.isascii() for token in tokens):
        raise ConfigError(
            f"serve: {name}: {source} needs a token a line, each of {LEAST} ASCII letters or more"
        )
    return tuple(hashlib.sha256(token.encode()).digest() for token in tokens)
