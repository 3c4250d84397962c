"""Where a client connects, and what it says of itself; the same for both clients."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from karec.client.calls import EVENTS, WORKS, Answer, Call

URL, TOKEN, EVENTS_TOKEN, WORKS_TOKEN = "KAREC_URL", "KAREC_TOKEN", "KAREC_EVENTS_TOKEN", "KAREC_WORKS_TOKEN"


@dataclass(frozen=True)
class Connection:
    """``base_url`` and tokens come from the environment where they are None. ValueError: no URL, no http URL,
    or a token that no header can hold.
    """

    base_url: httpx.URL
    tokens: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(
        cls, base_url: str | None, token: str | None, events_token: str | None, works_token: str | None
    ) -> Connection:
        given = base_url or os.environ.get(URL)
        if not given:
            raise ValueError(
                f"no address of the service: Client('http://HOST:PORT'), or {URL} in the environment"
            )
        try:
            url = httpx.URL(given)
        except httpx.InvalidURL as error:
            raise ValueError(f"{given!r} is no address: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{given!r} is no address: http://HOST:PORT or https://HOST is wanted")
        environment = os.environ.get
        general = token or environment(TOKEN) or ""
        tokens = {
            "": general,
            EVENTS: events_token or environment(EVENTS_TOKEN) or general,
            WORKS: works_token or environment(WORKS_TOKEN) or general,
        }
        return cls(url, {purpose: _whole(each.strip()) for purpose, each in tokens.items()})

    def request(self, call: Call[Answer]) -> tuple[httpx.URL, dict[str, str]]:
        """(URL, headers)"""
        headers = {"content-type": "application/json"} if call.body else {}
        token = self.tokens[call.purpose]
        if token:
            headers["authorization"] = f"Bearer {token}"
        base = self.base_url
        raw_path = base.raw_path.rstrip(b"/") + call.path.encode("ascii")
        return base.copy_with(raw_path=raw_path), headers


def _whole(token: str) -> str:
    if not re.fullmatch("[ -~]*", token):
        raise ValueError("a token is one line of ASCII letters, digits and signs")  # never told
    return token


def pool(connections: int) -> httpx.Limits:
    return httpx.Limits(max_connections=connections, max_keepalive_connections=connections)


Verify = ssl.SSLContext | bool
