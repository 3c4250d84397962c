"""The table ``live`` of a ``karec.toml``: where what happens is kept.

[live]
state = "state"                 # a folder (LMDB), "redis://HOST:PORT/DB", or "memory:"
events = "events"               # the folder of the event log; made where it is missing
screen = "screen.toml"          # optional: uploads that break a rule of it are not taken
deadline_ms = 20                # a request waits so long at most for a store on a server
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from karec.platform.state.opening import SERVERS

MEMORY = "memory:"
MOST_MS = 10_000.0


@dataclass(frozen=True)
class LiveSettings:
    """Where what happens is kept: the state store, the event log, and what uploads must not be."""

    state: str
    events: str
    screen: str | None = None
    deadline_ms: float = 20.0

    def __post_init__(self) -> None:
        if not self.state or not self.events:
            raise ValueError("state and events name a store and a folder, and not nothing")
        if self.on_a_server and not self.state.startswith(SERVERS):
            raise ValueError(f"no state store at {self.state!r}: expected memory:, one of {SERVERS} or a folder")
        if not 0 < self.deadline_ms <= MOST_MS:
            raise ValueError(f"deadline_ms = {self.deadline_ms:g}, expected a time above 0, at most {MOST_MS:g}")

    @property
    def on_a_server(self) -> bool:
        return "://" in self.state

    def address(self, folder: Path) -> str:
        """Of the store; a folder's is relative to the karec.toml's ``folder``."""
        return self.state if self.state == MEMORY or self.on_a_server else str(folder / self.state)
