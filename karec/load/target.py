"""Where requests go, and the bytes of one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

RECOMMEND, EVENTS = "/v1/recommend", "/v1/events"


@dataclass(frozen=True)
class Target:
    """``path`` stands before each path of the service; ``tokens`` {path: token}."""

    host: str
    port: int
    path: str = ""
    tls: bool = False
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, url: str, tokens: dict[str, str]) -> Target:
        """ValueError: no http URL."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address: http://HOST:PORT is wanted")
        return cls(parts.hostname, parts.port or (443 if tls else 80), parts.path.rstrip("/"), tls, tokens)

    @property
    def ssl(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if self.tls else None

    def head(self, path: str) -> bytes:
        """All of a request of HTTP/1.1 that stands before the length of its body."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        token = self.tokens.get(path, "")
        lines = [
            f"POST {self.path}{path} HTTP/1.1",
            f"Host: {host}:{self.port}",
            "Content-Type: application/json",
            *([f"Authorization: Bearer {token}"] if token else []),
            "Content-Length: ",
        ]
        return "\r\n".join(lines).encode("latin-1")
