"""The table ``live`` of a ``karec.toml``: where what happens is kept, and what ``karec live`` runs beside the
service.

[live]
state = "state"                 # a folder (LMDB), "redis://HOST:PORT/DB", or "memory:"
events = "events"               # the folder of the event log; made where it is missing
screen = "screen.toml"          # optional: uploads that break a rule of it are not taken
deadline_ms = 20                # a request waits so long at most for a store on a server
refresh_share = 0.25            # karec live: of a core for karec refresh; 0: it does not run
train_every_hours = 24          # karec live: from one training's begin to the next; 0: none
margin = 0.005                  # karec live: of karec train --publish-if-no-worse
train = ["--data", "shop", "--log", "rank_log"]     # karec live: what else karec train is told
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from karec.online.store.open import SERVERS

MEMORY = "memory:"
MOST_MS = 10_000.0


@dataclass(frozen=True)
class LiveSettings:
    """Where what happens is kept: state store, event log, what uploads must not be; and what karec live
    runs."""

    state: str
    events: str
    screen: str | None = None
    deadline_ms: float = 20.0
    refresh_share: float = 0.25
    train_every_hours: float = 0.0
    margin: float = 0.005
    train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.state or not self.events:
            raise ValueError("state and events name a store and a folder, and not nothing")
        if self.on_a_server and not self.state.startswith(SERVERS):
            raise ValueError(
                f"no state store at {self.state!r}: expected memory:, one of {SERVERS} or a folder"
            )
        if not 0 < self.deadline_ms <= MOST_MS:
            raise ValueError(
                f"deadline_ms = {self.deadline_ms:g}, expected a time above 0, at most {MOST_MS:g}"
            )
        if not 0 <= self.refresh_share <= 1:
            raise ValueError(f"refresh_share = {self.refresh_share:g}, expected a share of a core, 0 to 1")
        for name in ("train_every_hours", "margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name):g}, expected a number of 0 or more")
        if self.train_every_hours and not any(each.startswith("--data") for each in self.train):
            raise ValueError(
                'train_every_hours needs train = ["--data", …]: the data that karec train learns from'
            )

    @property
    def on_a_server(self) -> bool:
        return "://" in self.state

    def address(self, folder: Path) -> str:
        """Of the store; a folder's is relative to the karec.toml's ``folder``."""
        return self.state if self.state == MEMORY or self.on_a_server else str(folder / self.state)
