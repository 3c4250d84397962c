"""The table `online` of a karec.toml: the online store, and the processes of `karec schedule`.

[online]
url = "sqlite:online.db"        # a file beside the karec.toml, "valkey://HOST:PORT/DB", or "sqlite::memory:"
screen = "screen.toml"          # optional: uploads that break its rules or lack quality are refused
deadline_ms = 20                # max time that a request waits for a store on a server
retention_days = 2              # older events are refused, so that the id of an event always counts once
open_minutes = { live = 240 }   # item types that open and close: minutes until an open item closes by itself
exported = "events"             # folder, or URL of an object store, where karec export events writes days
exported_days = 0               # karec export events deletes older exported days; 0: they stay
refresh_share = 0.25            # karec schedule: fraction of a core for karec refresh; 0: it does not run
train_every_hours = 24          # karec schedule: between the starts of two trainings; 0: none
margin = 0.005                  # karec schedule: of karec train --publish-if-no-worse
train = ["shop", "--log", "rank_log"]       # karec schedule: DATA and further arguments of karec train

The password of a server is in the environment variable KAREC_ONLINE_PASSWORD.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from karec.object_store import ObjectFolder, is_url
from karec.online.read_log import EventSource
from karec.online.store.open import MEMORY, SQLITE, check_url, is_on_a_server
from karec.times import DAY_MS
from karec.toml import Fraction, NonNegative, Settings

Text = Annotated[str, Meta(min_length=1)]


class OnlineSettings(Settings, frozen=True):
    """The online store, the rules for uploads, and the processes of `karec schedule`."""

    url: Text
    screen: str | None = None
    deadline_ms: Annotated[float, Meta(gt=0, le=10_000)] = 20.0
    retention_days: Annotated[float, Meta(gt=0, le=365)] = 2.0
    open_minutes: Mapping[str, Annotated[float, Meta(gt=0, le=2880)]] = {}
    exported: Text = "events"
    exported_days: NonNegative = 0.0
    refresh_share: Fraction = 0.25
    train_every_hours: NonNegative = 0.0
    margin: NonNegative = 0.005
    train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.url)
        if is_url(self.exported):
            ObjectFolder(self.exported)  # raises ValueError
        if self.train_every_hours and (not self.train or self.train[0].startswith("-")):
            raise ValueError(
                'train_every_hours needs train = ["DATA", …]: the data that karec train learns from'
            )

    @property
    def is_on_a_server(self) -> bool:
        return is_on_a_server(self.url)

    def event_source(self, folder: Path) -> EventSource:
        """Returns store and exported days; paths are relative to `folder`, that of the karec.toml.

        Raises ValueError if the store is in memory: other processes cannot read it.
        """
        if self.url == MEMORY:
            raise ValueError(f"only the service itself reads its online store, url = {MEMORY!r}")
        file = self.url.removeprefix(SQLITE)
        url = self.url if self.is_on_a_server else f"{SQLITE}{folder / file}"
        return EventSource(url, self.exported if is_url(self.exported) else str(folder / self.exported))

    @property
    def late_ms(self) -> int:
        """How old an event may be when it is stored."""
        return round(self.retention_days * DAY_MS)
