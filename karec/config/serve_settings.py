"""The table ``serve`` of a ``karec.toml``: where ``karec serve`` listens, what it lets in, and what it
refuses.

[serve]
host = "127.0.0.1"
port = 8080
workers = 2                     # processes; each answers as many requests at once as its share of the cores
wait_ms = 100                   # a request that would wait longer for a thread is refused at once
requests_at_once = 256          # of each worker, running and waiting
body_kb = 1024                  # a longer body is refused
k = 500                         # most works of one answer
shown = 10_000                  # most works of one request's shown
batch = 64                      # most requests of one batch
events = 1_000                  # most events, or works, of one call
watch_seconds = 2.0             # so often karec.toml and the bundle's current are looked at
drain_seconds = 30.0            # after SIGTERM requests have so long to end
page = true                     # the page at /, and POST /v1/try; absent: on loopback, and elsewhere with a
                                # token
exposure = "sent"               # windows of /metrics count works in answers; "shown": exposures that are
                                # reported
token = "file:tokens/serve"     # or "env:NAME"; a token a line; needed where others than this machine reach
                                # the port
events_token = "env:EVENTS"     # of POST /v1/events alone; absent: token
works_token = "env:WORKS"       # of POST /v1/works alone; absent: token
spans = "http://localhost:4318/v1/traces"    # where spans are told, OTLP over HTTP; absent: none are; needs
                                             # karec[otel]
spans_share = 0.01              # of answers, beside the slow and the degraded
spans_slow_ms = 200.0           # an answer that took so long is slow
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from typing import Literal

SENT, SHOWN = "sent", "shown"
SOURCES = ("file:", "env:")
TOKENS = ("token", "events_token", "works_token")
BOUNDS = {  # key: least and most
    "port": (0, 65_535),
    "workers": (1, 256),
    "wait_ms": (1, 60_000),
    "requests_at_once": (1, 100_000),
    "body_kb": (1, 1 << 20),
    "k": (1, 100_000),
    "shown": (0, 1_000_000),
    "batch": (1, 1_000),
    "events": (1, 100_000),
    "watch_seconds": (0.1, 86_400),
    "drain_seconds": (0.1, 3_600),
    "spans_share": (0, 0.01),
    "spans_slow_ms": (0.1, 3_600_000),
}
FIXED = (
    "host",
    "port",
    "workers",
    "drain_seconds",
    "exposure",
    "spans",
    "spans_share",
    "spans_slow_ms",
)  # what only a new start changes


@dataclass(frozen=True)
class ServeSettings:
    """Where ``karec serve`` listens, how many worker processes, what they let in, and which tokens they ask
    for."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    wait_ms: float = 100.0
    requests_at_once: int = 256
    body_kb: int = 1024
    k: int = 500
    shown: int = 10_000
    batch: int = 64
    events: int = 1_000
    watch_seconds: float = 2.0
    drain_seconds: float = 30.0
    page: bool | None = None
    exposure: Literal["sent", "shown"] = "sent"
    token: str | None = None
    events_token: str | None = None
    works_token: str | None = None
    spans: str | None = None
    spans_share: float = 0.01
    spans_slow_ms: float = 200.0

    def __post_init__(self) -> None:
        if not self.host or any(letter.isspace() for letter in self.host):
            raise ValueError(
                f"host = {self.host!r}, expected a name or an address, such as 127.0.0.1, ::1 or 0.0.0.0"
            )
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if not math.isfinite(value) or not least <= value <= most:
                raise ValueError(f"{name} = {value:g}, expected {least:g} to {most:g}")
        if self.spans is not None and not re.match(r"https?://[^/\s]+", self.spans):
            raise ValueError(
                f"spans = {self.spans!r}, expected a URL, such as http://localhost:4318/v1/traces"
            )
        for name in TOKENS:
            source = getattr(self, name)
            if source is not None and (not source.startswith(SOURCES) or source in SOURCES):
                raise ValueError(
                    f'{name} names where the token is: "file:PATH" or "env:NAME"; never the token itself'
                )
        for name in TOKENS[1:]:
            if getattr(self, name) is not None and self.token is None:
                raise ValueError(f"{name} needs token, which all other calls ask for")

    @property
    def shows_page(self) -> bool:
        return self.page if self.page is not None else self.on_loopback or self.token is not None

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches ``host``."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
