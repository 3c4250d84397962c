"""The table `live` of a karec.toml: the online store, the event log, and the processes of `karec live`.

[live]
state = "state"                 # a folder (LMDB), "redis://HOST:PORT/DB", or "memory:"
events = "events"               # the folder of the event log; created if missing
screen = "screen.toml"          # optional: uploads that break one of its rules are refused
deadline_ms = 20                # max time that a request waits for a store on a server
refresh_share = 0.25            # karec live: fraction of a core for karec refresh; 0: it does not run
train_every_hours = 24          # karec live: between the starts of two trainings; 0: none
margin = 0.005                  # karec live: of karec train --publish-if-no-worse
train = ["--data", "shop", "--log", "rank_log"]     # karec live: further arguments of karec train
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from karec.online.store.open import SERVERS
from karec.toml import Fraction, NonNegative, Settings

MEMORY = "memory:"
Text = Annotated[str, Meta(min_length=1)]


class LiveSettings(Settings, frozen=True):
    """The online store, the event log, the rules for uploads, and the processes of `karec live`."""

    state: Text
    events: Text
    screen: str | None = None
    deadline_ms: Annotated[float, Meta(gt=0, le=10_000)] = 20.0
    refresh_share: Fraction = 0.25
    train_every_hours: NonNegative = 0.0
    margin: NonNegative = 0.005
    train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_a_server and not self.state.startswith(SERVERS):
            raise ValueError(f"state = {self.state!r}, expected memory:, one of {SERVERS} or a folder")
        if self.train_every_hours and not any(argument.startswith("--data") for argument in self.train):
            raise ValueError(
                'train_every_hours needs train = ["--data", …]: the data that karec train learns from'
            )

    @property
    def on_a_server(self) -> bool:
        return "://" in self.state

    def address(self, folder: Path) -> str:
        """Returns the address of the store. A path is relative to `folder`, that of the karec.toml."""
        return self.state if self.state == MEMORY or self.on_a_server else str(folder / self.state)
