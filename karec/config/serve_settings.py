"""The table `serve` of a karec.toml: address, worker processes, limits and tokens of `karec serve`.

[serve]
host = "127.0.0.1"
port = 8080
workers = 2                     # processes; each uses its part of the cores
max_queue_ms = 100              # a request that would wait longer for a thread gets 503 at once
max_queue_size = 256            # requests of one worker that run or wait
max_body_kb = 1024
max_k = 500                     # items of one page
max_seen_items = 10_000         # of the field `shown` of a request
max_batch_size = 64             # requests of one batch
max_events = 1_000              # events or items of one call
max_new_conditions_per_s = 64   # of the field `where`, in one worker; a cached condition does not count
watch_seconds = 2.0             # period of the checks of karec.toml and of the bundle's `current`
drain_seconds = 30.0            # time that requests have to end after SIGTERM
page = true                     # the page at / and POST /v1/try; absent: on loopback, or with a token
token = "file:tokens/serve"     # or "env:NAME"; one token a line; needed if other machines reach the port
events_token = "env:EVENTS"     # of POST /v1/events; absent: token
items_token = "env:ITEMS"       # of POST /v1/items; absent: token
page_key = "env:PAGE_KEY"       # signs the field `next` of a page; the same on all hosts. Absent: no `next`
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from msgspec import Meta

from karec.toml import Settings

SOURCES = ("file:", "env:")
TOKENS = ("token", "events_token", "items_token")
# a running service keeps these; restart it to change them
FIXED = ("host", "port", "workers", "drain_seconds")
UpTo100000 = Annotated[int, Meta(ge=1, le=100_000)]


class ServeSettings(Settings, frozen=True):
    """Address, worker processes, limits and tokens of `karec serve`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    max_queue_ms: Annotated[float, Meta(ge=1, le=60_000)] = 100.0
    max_queue_size: UpTo100000 = 256
    max_body_kb: Annotated[int, Meta(ge=1, le=1 << 20)] = 1024
    max_k: UpTo100000 = 500
    max_seen_items: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    max_batch_size: Annotated[int, Meta(ge=1, le=1_000)] = 64
    max_events: UpTo100000 = 1_000
    max_new_conditions_per_s: UpTo100000 = 64
    watch_seconds: Annotated[float, Meta(ge=0.1, le=86_400)] = 2.0
    drain_seconds: Annotated[float, Meta(ge=0.1, le=3_600)] = 30.0
    page: bool | None = None
    token: str | None = None
    events_token: str | None = None
    items_token: str | None = None
    page_key: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host or any(letter.isspace() for letter in self.host):
            raise ValueError(
                f"host = {self.host!r}, expected a name or an address, such as 127.0.0.1, ::1 or 0.0.0.0"
            )
        for name in (*TOKENS, "page_key"):
            source = getattr(self, name)
            if source is not None and (not source.startswith(SOURCES) or source in SOURCES):
                raise ValueError(
                    f'{name}: expected the place of the token, "file:PATH" or "env:NAME", not the token'
                )
        for name in TOKENS[1:]:
            if getattr(self, name) is not None and self.token is None:
                raise ValueError(f"{name} is set without token, which all other calls need")

    @property
    def shows_page(self) -> bool:
        return self.page if self.page is not None else self.on_loopback or self.token is not None

    @property
    def on_loopback(self) -> bool:
        """True if only this machine reaches `host`."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
