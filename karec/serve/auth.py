"""Bearer tokens from files or the environment. Without a token only this machine may call.

no token  /healthz, /readyz, /version, /openapi.json and the page: they contain nothing about users
events    POST /v1/events: `events_token` if it is set, else `token`
items     POST /v1/items: `items_token` if it is set, else `token`
the rest  `token`

Without a token the Host header must be a name of this machine: a page of another site whose name resolves to
this machine sends its own name. Tokens are kept as SHA-256 and compared in constant time. None is logged.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from starlette.types import Scope

from karec.config.serve_settings import TOKENS, ServeSettings
from karec.errors import ConfigError
from karec.serve.problems import ProblemError

MIN_TOKEN_LETTERS = 16
OPEN_PATHS = ("/healthz", "/readyz", "/version", "/openapi.json", "/")
TOKEN_NAMES = {"/v1/events": "events_token", "/v1/items": "items_token"}
LOCAL_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d*)?", re.ASCII)  # matches the whole header


@dataclass(frozen=True, repr=False)
class Tokens:
    """SHA-256 of the tokens by name; if empty, no call needs one. `is_any_host`: Host is not checked.

    `page_keys`: SHA-256 of the keys of `karec.serve.page_token`.
    """

    digests: dict[str, tuple[bytes, ...]]
    is_any_host: bool = False
    page_keys: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, settings: ServeSettings, folder: Path, *, is_insecure: bool = False) -> Self:
        """Raises ConfigError if a source is missing or has no valid token, or if a token is needed."""
        if settings.token is None and not settings.on_loopback and not is_insecure:
            raise ConfigError(
                f"host = {settings.host!r} accepts calls of other machines: set [serve] token = "
                '"file:PATH" or "env:NAME", or start karec serve with --insecure'
            )
        digests = {name: _read(name, getattr(settings, name), folder) for name in TOKENS}
        page_keys = _read("page_key", settings.page_key, folder)
        return cls({name: values for name, values in digests.items() if values}, is_insecure, page_keys)

    def refusal(self, scope: Scope) -> ProblemError | None:
        """Returns the reason why the request is not allowed; None if it is."""
        path = scope["path"]
        headers = dict(scope["headers"])
        if not self.digests:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            if self.is_any_host or LOCAL_HOST.fullmatch(host):
                return None
            return ProblemError(
                403, "Host is not a name of this machine, expected localhost. Other names need a token."
            )
        if path in OPEN_PATHS:
            return None
        allowed = self.digests.get(TOKEN_NAMES.get(path, "token"), self.digests["token"])
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return ProblemError(401, "the header Authorization: Bearer TOKEN is missing")
        digest = hashlib.sha256(token.strip()).digest()
        matches = [hmac.compare_digest(digest, other) for other in allowed]  # all of them, in constant time
        return None if any(matches) else ProblemError(401, "the token is not valid for this call")


def _read(name: str, source: str | None, folder: Path) -> tuple[bytes, ...]:
    if source is None:
        return ()
    kind, _, place = source.partition(":")
    if kind == "env":
        text = os.environ.get(place, "")
        if not text:
            raise ConfigError(f"serve: {name}: the environment variable {place} is not set")
    else:
        try:
            text = (folder / place).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"serve: {name}: {folder / place} cannot be read: {error}") from None
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if not tokens or any(len(token) < MIN_TOKEN_LETTERS or not token.isascii() for token in tokens):
        raise ConfigError(
            f"serve: {name}: {source}: expected one token a line, each of at least {MIN_TOKEN_LETTERS} ASCII "
            "letters"
        )
    return tuple(hashlib.sha256(token.encode()).digest() for token in tokens)
